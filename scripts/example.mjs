import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./setup.mjs";

// npm run -s example NAME [ARGS]: runs examples/NAME.ts against the sources.
const [name = "", ...args] = process.argv.slice(2);
const file = join(ROOT, "examples", `${name}.ts`);
if (!/^[a-z-]+$/.test(name) || !existsSync(file)) {
  console.error(
    `Cannot run example ${JSON.stringify(name)}: there is no examples/${name}.ts, try "generate" or "chat"`,
  );
  process.exit(2);
}
const tsx = join(ROOT, "node_modules/tsx/dist/cli.mjs");
const { status } = spawnSync(process.execPath, [tsx, file, ...args], { cwd: ROOT, stdio: "inherit" });
process.exitCode = status ?? 1;
