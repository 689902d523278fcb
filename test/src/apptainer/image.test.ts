import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { buildImage } from "../../../src/apptainer/build-image.js";
import { inspectImage } from "../../../src/apptainer/inspect-image.js";
import { apptainerProblem, builder, cpuImage } from "./test-image.js";

const DEFINITIONS = join(import.meta.dirname, "../../../apptainer");
const problem = apptainerProblem();

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "kitty-kv-image-"));
  // The ordinary user who builds for root writes here too.
  chmodSync(folder, 0o777);
  onTestFinished(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

test(
  "the CPU image is built from its definition, passes its %test, and is not built again",
  { timeout: 400_000 },
  async ({ skip }) => {
    skip(problem !== undefined, problem);
    const built = await cpuImage();
    expect(await cpuImage()).toEqual({ ...built, isCached: true });
    const { labels, sha256, sizeBytes } = await inspectImage(built.path);
    expect({ sha256, sizeBytes, path: built.path, isCached: built.isCached }).toEqual(built);
    expect(labels).toMatchObject({ "org.kitty-kv.role": "cpu", "org.kitty-kv.python": "3.11" });
  },
);

test("an image is built again when an input changes, and the old one stays when that fails or is cancelled", async ({
  skip,
}) => {
  skip(problem !== undefined, problem);
  const folder = newFolder();
  const [definition, input, image] = ["small.def", "input.txt", "small.sif"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  const header = "Bootstrap: scratch\n\n%files\n    input.txt /input.txt\n";
  writeFileSync(definition, header);
  writeFileSync(input, "one");
  const lines: string[] = [];
  const options = { definition, ...builder, onProgress: (line: string) => void lines.push(line) };
  const first = await buildImage(image, options);
  expect(lines.join("\n")).toContain("Creating SIF file");
  expect((await buildImage(image, options)).isCached).toBe(true);
  writeFileSync(input, "two");
  const second = await buildImage(image, options);
  expect([second.isCached, second.sha256 === first.sha256]).toEqual([false, false]);
  writeFileSync(definition, `${header}\n%post\n    exit 7\n`);
  await expect(buildImage(image, options)).rejects.toMatchObject({ code: "image_build_failed" });
  await expect(buildImage(image, { ...options, signal: AbortSignal.abort() })).rejects.toMatchObject({
    code: "cancelled",
  });
  rmSync(input);
  await expect(buildImage(image, options)).rejects.toMatchObject({ code: "input_not_found" });
  expect((await inspectImage(image)).sha256).toBe(second.sha256);
  expect(readdirSync(folder).sort()).toEqual(["small.def", "small.sif", "small.sif.build.json"]);
});

test("what cannot be built is refused before Apptainer is asked", async () => {
  const folder = newFolder();
  const definition = join(folder, "a.def");
  writeFileSync(definition, "Bootstrap: scratch\nMirrorURL: {{ mirror }}\n");
  const program = join(folder, "no-apptainer");
  const build = (options: object) => buildImage(join(folder, "a.sif"), { definition, program, ...options });
  await expect(build({ buildArguments: { miror: "x" } })).rejects.toMatchObject({
    code: "unknown_build_argument",
    details: { known: ["mirror"] },
  });
  await expect(build({ definition: join(folder, "b.def") })).rejects.toMatchObject({ code: "definition_not_found" });
  const buildArguments = { mirror: "http://mirror.example/debian" };
  await expect(build({ buildArguments })).rejects.toMatchObject({ code: "apptainer_not_found" });
  writeFileSync(definition, "Bootstrap: scratch\n%arguments\n    b=1\n%labels\n    x {{ a }} {{ b }}\n");
  await expect(build({})).rejects.toMatchObject({ code: "missing_build_argument", details: { argument: "a" } });
  await expect(inspectImage(join(folder, "a.sif"))).rejects.toMatchObject({ code: "image_not_found" });
});

test.each(readdirSync(DEFINITIONS).filter((name) => name.endsWith(".def")))(
  "%s says how it is built and run, names no machine, tests itself, and has a default for all but the mirror",
  (name) => {
    const text = readFileSync(join(DEFINITIONS, name), "utf8");
    expect(text).toMatch(/^# Build: {2}.*\n(#.*\n)*# Run: /);
    for (const section of ["%arguments", "%labels", "%help", "%post", "%test"])
      expect(text).toContain(`\n${section}\n`);
    expect(text).not.toMatch(/\/(home|root|work)\b|(\d+\.){3}\d+/);
    if (text.includes("Bootstrap: docker")) expect(text).toMatch(/^From: \S+@sha256:[0-9a-f]{64}$/m);
    const defaults = [...(/%arguments\n((?: {4}.*\n)+)/.exec(text)?.[1] ?? "").matchAll(/^ +(\w+)=/gm)];
    const used = [...text.matchAll(/\{\{ (\w+) \}\}/g)].map(([, argument]) => argument);
    const wanted = new Set(used.filter((argument) => argument !== "mirror"));
    expect(new Set(defaults.map(([, argument]) => argument))).toEqual(wanted);
  },
);
