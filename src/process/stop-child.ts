import type { Child } from "./child.js";

export interface StopLimits {
  /** How long it may take to leave by itself once its stdin is closed. */
  graceMs: number;
  /** How long it may take after SIGTERM before it is killed. */
  killAfterMs: number;
}

/** Ends a process: closed stdin first, SIGTERM after `graceMs`, SIGKILL after `killAfterMs` more. */
export async function stopChild(child: Child, limits: StopLimits): Promise<void> {
  child.stdin.end();
  if (await exitedWithin(child, limits.graceMs)) return;
  child.kill("SIGTERM");
  if (await exitedWithin(child, limits.killAfterMs)) return;
  child.kill("SIGKILL");
  await child.exited;
}

async function exitedWithin(child: Child, timeoutMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<boolean>((resolve) => (timer = setTimeout(resolve, timeoutMs, false)));
  const hasExited = await Promise.race([child.exited.then(() => true), timeout]);
  clearTimeout(timer);
  return hasExited;
}
