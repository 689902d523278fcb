const live = new Set<number>();

/**
 * Remembers a process group until it is released, and kills it should this process exit first.
 * @returns the release
 */
export function trackChild(pid: number): () => void {
  if (live.size === 0) process.on("exit", killAll);
  live.add(pid);
  return () => {
    live.delete(pid);
    if (live.size === 0) process.off("exit", killAll);
  };
}

/** Signals a whole process group; that it is already gone is not an error. */
export function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    // EPERM is how macOS says it of a group whose leader was not reaped yet.
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ESRCH" && code !== "EPERM") throw error;
  }
}

function killAll(): void {
  for (const pid of live) killGroup(pid, "SIGKILL");
}
