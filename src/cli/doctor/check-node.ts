import { failed, ok, type Check } from "./check.js";

const OLDEST = [20, 19] as const;

export function checkNode(version = process.versions.node): Check {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const isNewEnough = major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
  if (isNewEnough) return ok("node", version);
  return failed("node", `${version}, and ${OLDEST.join(".")} or later is needed`, "install Node 20.19 or later");
}
