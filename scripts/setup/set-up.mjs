import { checkNode, checkNpm } from "./check-tools.mjs";
import { findBasePython } from "./find-python.mjs";
import { takeLock } from "./lock.mjs";
import { Progress } from "./progress.mjs";
import { STEPS } from "./steps.mjs";
import { Undo } from "./undo.mjs";

/**
 * Installs and builds what is missing in a checkout; does nothing, quickly, when nothing is.
 * @returns the names of the steps that had something to do
 * @throws SetupError; what the failed step had half made is removed before
 */
export async function setUp(root, { steps = STEPS, stderr = process.stderr } = {}) {
  checkNode();
  if (steps.every((step) => step.isDone(root))) return [];
  checkNpm();
  const python = findBasePython(root);
  const progress = new Progress(stderr);
  const undo = new Undo(progress);
  const lock = await takeLock(root, python, progress, undo);
  try {
    return await runSteps(steps, { root, python, progress, undo, lockFd: lock.fd });
  } finally {
    lock.release();
    undo.dispose();
  }
}

async function runSteps(steps, context) {
  const ran = [];
  for (const step of steps) {
    // Whoever held the lock before may have done it; and an earlier step may have undone a later one.
    if (step.isDone(context.root)) continue;
    await context.progress.during(step.name, () =>
      context.undo.guard(step.halfMade(context.root), () => step.run(context)),
    );
    ran.push(step.name);
  }
  if (ran.length > 0) context.progress.close(ran.length);
  return ran;
}
