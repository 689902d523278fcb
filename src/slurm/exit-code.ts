export interface SlurmExit {
  exitCode: number;
  /** The number of the signal that ended it; 0 is none. */
  signal: number;
}

/** Reads `exit:signal`, as sacct writes it, and the raw status of wait(2), as squeue does. */
export function parseExitCode(text: string): SlurmExit | undefined {
  const pair = /^(\d+):(\d+)$/.exec(text.trim());
  if (pair !== null) return { exitCode: Number(pair[1]), signal: Number(pair[2]) };
  if (!/^\d+$/.test(text.trim())) return undefined;
  const status = Number(text.trim());
  return { exitCode: (status >> 8) & 0xff, signal: status & 0x7f };
}

// What Slurm itself puts into the signal's place, or shells into the exit code's.
const WORDS: Readonly<Record<string, string>> = {
  "0:53": "the node could not write the output file or enter the working folder",
  "74:0": "it could not write to the shared folder",
  "0:125": "it used more memory than it had asked for",
  "0:9": "it was killed (signal 9)",
  "0:15": "it was asked to end (signal 15)",
  "127:0": "a program was not found on the node (exit code 127)",
  "126:0": "a program could not be run on the node (exit code 126)",
  "137:0": "a program in it was killed (signal 9), perhaps for memory",
};

/** Whether the shared folder was what failed, on the node where it ran: no fault of the job. */
export function isOfFolder({ exitCode, signal }: SlurmExit): boolean {
  return ["74:0", "0:53"].includes(`${String(exitCode)}:${String(signal)}`);
}

/** An exit in plain words. */
export function describeExit({ exitCode, signal }: SlurmExit): string {
  const known = WORDS[`${String(exitCode)}:${String(signal)}`];
  if (known !== undefined) return known;
  if (signal > 0) return `it was ended by signal ${String(signal)}`;
  return `exit code ${String(exitCode)}`;
}
