import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { SetupError } from "./setup-error.mjs";

// flock belongs to the open file that we share with this helper, so we hold it when the helper is gone,
// and the kernel lets go of it when we are, however we end.
const TAKE = `
import fcntl
try:
    fcntl.flock(3, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("waiting", flush=True)
    fcntl.flock(3, fcntl.LOCK_EX)
`;

/** Waits until no other set-up works in this checkout. */
export async function takeLock(root, python, progress, undo) {
  const folder = join(root, ".setup");
  let fd;
  try {
    mkdirSync(folder, { recursive: true });
    fd = openSync(join(folder, "lock"), "w");
  } catch (cause) {
    throw new SetupError("lock", `${folder} cannot be written (${cause.code})`, {
      remedy: `make ${root} writable for you and see that its disk is not full`,
      cause,
    });
  }
  const child = spawn(python.file, ["-I", "-c", TAKE], { stdio: ["ignore", "pipe", "pipe", fd] });
  let stderr = "";
  child.stderr.on("data", (text) => (stderr += text));
  child.stdout.once("data", () => progress.say("another set-up is at work in this checkout, waiting for it"));
  undo.child = { stop: () => child.kill("SIGKILL") };
  const exitCode = await new Promise((resolve) => child.once("close", resolve));
  undo.child = undefined;
  if (exitCode !== 0) {
    const reason = stderr.trim().split("\n").at(-1);
    progress.say(`this file system has no locks (${reason}); do not start a second set-up here meanwhile`);
  }
  return { fd, release: () => closeSync(fd) };
}
