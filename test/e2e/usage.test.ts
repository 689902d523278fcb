import { join } from "node:path";
import { execa } from "execa";
import { expect, test } from "vitest";

const CLI = join(import.meta.dirname, "../../dist/cli/main.js");

async function kitty(args: string[], input: string | Buffer = "", env: Record<string, string> = {}) {
  const { exitCode, stdout, stderr } = await execa(process.execPath, [CLI, ...args], { reject: false, input, env });
  return { exitCode, stdout, stderr };
}

const WRONG: [args: string[], message: string][] = [
  [["generate", "Hi", "--presett", "kitty"], "unknown option '--presett', did you mean --preset?"],
  [["generat", "Hi"], "unknown command 'generat', did you mean generate?"],
  [["generate", "Once", "upon"], "too many arguments for 'generate'"],
  [["generate", "Hi", "--stop"], "option '--stop <text>' argument missing"],
  [["generate", "Hi", "--max-new-tokens", "0x10"], '--max-new-tokens must be a whole number >= 1, got "0x10"'],
  [["generate", "Hi", "--top-p", "1.5"], '--top-p must be a number > 0 and <= 1, got "1.5"'],
  [["generate", "Hi", "--temperature", "-1"], '--temperature must be a number >= 0, got "-1"'],
  [["generate", "Hi", "--top-k", "many"], '--top-k must be a whole number >= 1, got "many"'],
  [["up", "--port", "70000"], '--port must be a whole number from 0 to 65535, got "70000"'],
  [
    ["generate", "Hi", "--runner", "locl"],
    'runner must be one of local, apptainer, slurm, got "locl", did you mean "local"?',
  ],
  [
    ["generate", "Hi", "-c", "not-there.yaml"],
    'Cannot read config "not-there.yaml": ENOENT: no such file or directory',
  ],
];

test.each(WRONG)("kitty-kv %j is refused in one sentence", async (args, message) => {
  const { exitCode, stdout, stderr } = await kitty(args);
  expect(stderr).toContain(message);
  expect(stderr).toMatch(/^Cannot [^\n]+$/);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
});

test.each([
  [Buffer.from("caf\u00e9 \xff x", "latin1"), 3],
  [Buffer.from([0xc3, 0xa9, 0x20, 0xff]), 3],
  [Buffer.from([0x61, 0xe2, 0x82]), 1],
  [Buffer.concat([Buffer.alloc(100_000, "é"), Buffer.from([0xed, 0xa0, 0x80])]), 100_000],
])("stdin that is not UTF-8 is refused with the place of the first wrong byte (%#)", async (input, offset) => {
  const { exitCode, stdout } = await kitty(["generate", "-", "--json"], input);
  expect(JSON.parse(stdout)).toMatchObject({ error: { code: "invalid_argument", details: { offset } } });
  expect(exitCode).toBe(2);
});

test("the cluster without an image says what must be set, or what does without", async () => {
  const { exitCode, stdout } = await kitty(["generate", "Hi", "--runner", "slurm", "--json"]);
  const { error } = JSON.parse(stdout) as { error: { code: string; message: string } };
  expect(error.code).toBe("apptainer_not_configured");
  expect(error.message).toContain("slurm.container: none");
  expect(exitCode).toBe(2);
});

test("a Python without our packages is told by doctor with its remedy, and exit code 1", async () => {
  const { exitCode, stdout } = await kitty(["doctor", "--json"], "", { KITTY_KV_PYTHON: "/does/not/exist" });
  const { ok, checks } = JSON.parse(stdout) as {
    ok: boolean;
    checks: { name: string; status: string; remedy?: string }[];
  };
  expect(ok).toBe(false);
  expect(checks.find(({ name }) => name === "python")).toMatchObject({
    status: "failed",
    remedy: 'run "npm start" once, or "npm run setup"',
  });
  expect(exitCode).toBe(1);
});

test("no command at all prints the help on stderr and ends with 2", async () => {
  const { exitCode, stdout, stderr } = await kitty([]);
  expect(stderr).toMatch(
    /^Usage: kitty-kv[^]*Cannot read the command line: no command was given, see "kitty-kv --help"$/,
  );
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
});

test("--help and --version end with 0", async () => {
  expect(await kitty(["--version"])).toMatchObject({ exitCode: 0, stdout: "0.1.0" });
  const help = await kitty(["generate", "--help"]);
  expect(help).toMatchObject({ exitCode: 0, stderr: "" });
  expect(help.stdout).toContain("--max-new-tokens <n>");
});

test("nothing is coloured, whoever asks for it", async () => {
  const { stdout, stderr } = await kitty(["doctor"], "", { FORCE_COLOR: "1" });
  expect(stdout + stderr).not.toContain("\u001b");
});
