import { spawnChild, type ChildExit, type Command } from "../../process/child.js";

const TIMEOUT_MS = 120_000;

/** Runs a program to its end and keeps what it wrote to stdout. */
export async function runProgram(command: Command): Promise<ChildExit & { stdout: string }> {
  const child = spawnChild(command, () => undefined);
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  child.stdin.end();
  const timer = setTimeout(() => {
    child.kill("SIGKILL");
  }, TIMEOUT_MS);
  const exit = await child.exited;
  clearTimeout(timer);
  return { ...exit, stdout: Buffer.concat(chunks).toString("utf8") };
}
