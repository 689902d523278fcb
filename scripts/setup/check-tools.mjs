import { spawnSync } from "node:child_process";
import { SetupError } from "./setup-error.mjs";

const OLDEST_NODE = [20, 19];
const OLDEST_NPM = [9, 0];

/** @throws SetupError when this Node is too old */
export function checkNode(version = process.versions.node) {
  if (isAtLeast(version, OLDEST_NODE)) return;
  throw new SetupError("node", `this is Node ${version}, and ${OLDEST_NODE.join(".")} or later is needed`, {
    remedy: "install Node 20.19 or later (https://nodejs.org, nvm, or a module of your cluster)",
  });
}

/** @throws SetupError when npm is missing or cannot read our lock file */
export function checkNpm(version = npmVersion()) {
  if (version === undefined) {
    throw new SetupError("npm", "there is no npm on PATH", {
      remedy: "install npm (it comes with Node; Debian: apt install npm)",
    });
  }
  if (isAtLeast(version, OLDEST_NPM)) return;
  throw new SetupError("npm", `this is npm ${version}, and ${OLDEST_NPM[0]} or later is needed`, {
    remedy: "update it: npm install --global npm@11, or install a newer Node",
  });
}

function npmVersion() {
  const { stdout, status } = spawnSync("npm", ["--version"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  return status === 0 ? stdout.trim() : undefined;
}

function isAtLeast(version, [major, minor]) {
  const [haveMajor = 0, haveMinor = 0] = version.split(".").map(Number);
  return haveMajor > major || (haveMajor === major && haveMinor >= minor);
}
