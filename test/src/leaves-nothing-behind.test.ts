import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

test("a program that closes its Kitty ends by itself, with nothing but its own output, DEBUG set or not", async () => {
  const file = fileURLToPath(new URL("../fixtures/small-program.ts", import.meta.url));
  const env = { ...process.env, DEBUG: "*" };
  const program = spawn(process.execPath, ["--import", "tsx", file], { env, stdio: ["ignore", "pipe", "inherit"] });
  const [output] = await Promise.all([text(program.stdout), once(program, "exit")]);
  expect([output, program.exitCode]).toEqual(["w0 w1 \n", 0]);
});
