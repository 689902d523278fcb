import { spawn } from "node:child_process";
import { join } from "node:path";
import { ROOT, setUpOrExit } from "./setup.mjs";
import { venvPython } from "./setup/steps.mjs";

await setUpOrExit();

const args = [join(ROOT, "dist/cli/main.js"), "up", ...process.argv.slice(2)];
// KITTY_KV_PYTHON names what .venv was made from; what runs is .venv.
const env = { ...process.env, KITTY_KV_PYTHON: venvPython(ROOT) };
const child = spawn(process.execPath, args, { cwd: ROOT, env, stdio: "inherit" });
// A terminal sends Ctrl-C to both of us; the child decides how long its farewell takes.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => {
    if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
  });
}
child.once("exit", (exitCode, signal) => {
  process.exitCode = exitCode ?? (signal === "SIGINT" ? 130 : 1);
});
