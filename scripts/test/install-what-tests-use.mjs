import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

/**
 * With CI=true, as root on Debian: installs what tests use besides the checkout. Elsewhere they use what is there.
 * That it cannot is no failure: the tests that need it are skipped by name.
 */
export function installWhatTestsUse(root, { environment = process.env, log = console.log } = {}) {
  const isAllowed = environment.CI === "true" && process.getuid?.() === 0 && existsSync("/etc/debian_version");
  if (!isAllowed) return;
  for (const name of ["apptainer", "slurm", "chromium", "lm-eval"]) {
    log(`\n── ${name}, for the tests that use it`);
    const script = join(root, "scripts", "test", `install-${name}.sh`);
    const { status, error } = spawnSync("bash", [script], { stdio: ["ignore", "inherit", "inherit"] });
    if (status !== 0)
      log(`Not installed (${error?.message ?? `exit code ${status}`}); the tests that need it are skipped`);
  }
}
