import { ConfigError } from "../errors.js";
import { directivesOf, type SlurmRequest } from "./directives.js";
import { quoteForShell } from "./quote.js";

/** A task ends with it when it was told that its time is nearly over; it is then put back into the queue. */
export const INTERRUPTED_EXIT_CODE = 75;

/** A node that does not have what the command begins with ends with it. */
const MISSING_EXIT_CODE = 72;

export interface ScriptParts {
  request: SlurmRequest;
  /** The program and its arguments, which no shell interprets; the task's number becomes the last one. */
  command: readonly string[];
  /** Files that it reads first, and that a node may not have. @default none */
  files?: readonly string[] | undefined;
  /** Lines of the site's own shell: modules, paths. */
  setup: readonly string[];
  teardown: readonly string[];
  /** A script of the site's own, with {{directives}}, {{setup}}, {{command}} and {{teardown}}. @default ours */
  template?: string | undefined;
}

const TEMPLATE = `#!/bin/bash
{{directives}}

{{setup}}
{{command}}
{{teardown}}
exit "$kitty_kv_code"
`;

/**
 * The script of a submission.
 * @throws ConfigError `invalid_directive`, `invalid_template`
 */
export function batchScript(parts: ScriptParts): string {
  const { request, command, files = [], setup, teardown, template = TEMPLATE } = parts;
  for (const name of ["directives", "command"]) {
    if (template.includes(`{{${name}}}`)) continue;
    throw new ConfigError(`Cannot use this slurm.template: it has no {{${name}}}, add a line with it`, {
      code: "invalid_template",
      details: { missing: name },
    });
  }
  const values: Readonly<Record<string, string>> = {
    directives: directivesOf(request)
      .map((directive) => `#SBATCH ${directive}`)
      .join("\n"),
    setup: setup.join("\n"),
    command: [...files.map(fileLine), commandLines(command)].join("\n"),
    teardown: [...teardown, REQUEUE].join("\n"),
  };
  // A function, so that a $ in a part means nothing.
  return template
    .replaceAll(/\{\{(\w+)\}\}/g, (whole, name: string) => values[name] ?? whole)
    .replaceAll(/\n{3,}/g, "\n\n");
}

// Slurm ends the script when it has put the job back.
const REQUEUE = `if [ "$kitty_kv_code" = ${String(INTERRUPTED_EXIT_CODE)} ]; then
  scontrol requeue "\${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}\${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}" && sleep 60
fi`;

/** The last words of a job that cannot begin; see `missingFile`. */
function fileLine(file: string): string {
  const node = '"${SLURMD_NODENAME:-$(hostname)}"';
  const say = `printf 'kitty-kv: %s does not have %s\\n' ${node} ${quoteForShell(file)} >&2`;
  return `[ -r ${quoteForShell(file)} ] || { ${say}; exit ${String(MISSING_EXIT_CODE)}; }`;
}

/** What a node did not have, by the last line that its job printed. */
export function missingFile(lastLine: string): { node: string; file: string } | undefined {
  const [, node, file] = /^kitty-kv: (\S+) does not have (.+)$/.exec(lastLine) ?? [];
  return node === undefined || file === undefined ? undefined : { node, file };
}

/**
 * Slurm's signals reach the script's shell, which hands them on. URG does nothing to a program that does not listen yet, so
 * it is sent until the program is gone.
 */
function commandLines(command: readonly string[]): string {
  const program = `${command.map(quoteForShell).join(" ")} "\${SLURM_ARRAY_TASK_ID:-0}"`;
  return `kitty_kv_worker=
trap ': "\${kitty_kv_worker:=$!}"; (while kill -URG "$kitty_kv_worker" 2>/dev/null; do sleep 2; done) &' USR1
trap ': "\${kitty_kv_worker:=$!}"; kill -TERM "$kitty_kv_worker" 2>/dev/null' TERM
${program} &
# A signal may have come first, and what it began is the latest then.
: "\${kitty_kv_worker:=$!}"
wait "$kitty_kv_worker"
kitty_kv_code=$?
# A signal ends the wait, not the program.
while kill -0 "$kitty_kv_worker" 2>/dev/null; do
  wait "$kitty_kv_worker"
  kitty_kv_code=$?
done`;
}
