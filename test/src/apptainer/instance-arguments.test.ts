import { mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { execArguments, insideEnvironment, startArguments } from "../../../src/apptainer/instance-arguments.js";
import { checkInstanceName, newInstanceName } from "../../../src/apptainer/instance-name.js";
import { checkSettings } from "../../../src/apptainer/instance-settings.js";
import { temporaryFolder } from "../../scripts/temporary-folder.js";

const programs = { bridge: "/a/bridge", python: "/a/python", kernels: "/a/kernels" };

test.each(["", "*", "kitty-*", "--all", "kitty-0123456789ab -F", "../kitty-0123456789ab", "kitty-0123456789AB"])(
  "checkInstanceName() refuses %j",
  (name) => {
    expect(() => checkInstanceName(name)).toThrow(expect.objectContaining({ code: "invalid_instance_name" }));
  },
);

test("newInstanceName() makes names that are valid and differ", () => {
  const names = Array.from({ length: 100 }, newInstanceName);
  for (const name of names) expect(checkInstanceName(name)).toBe(name);
  expect(new Set(names).size).toBe(100);
});

test("an instance is isolated whatever is asked for, and reads all but its scratch folder", () => {
  const settings = checkSettings({ image: "/i.sif", overlay: "/o.img" });
  const args = startArguments("kitty-0123456789ab", settings, { scratch: "/s", programs });
  const isolation = [
    "--containall",
    "--cleanenv",
    "--no-home",
    "--no-privs",
    "--no-eval",
    "--net",
    "--network",
    "none",
  ];
  expect(args.slice(0, 2 + isolation.length)).toEqual(["instance", "start", ...isolation]);
  const binds = args.filter((_, index) => args[index - 1] === "--bind");
  expect(binds[0]).toBe("/s:/tmp");
  for (const bind of binds.slice(1)) expect(bind).toMatch(/:ro$/);
  expect(args.slice(-4)).toEqual(["--overlay", "/o.img:ro", "/i.sif", "kitty-0123456789ab"]);
  expect(args).not.toContain("--nv");
  expect(execArguments("kitty-0123456789ab", ["python"])).toContain("--cleanenv");
});

test("limits and the host's network are arguments only where they are asked for", () => {
  const settings = checkSettings({ image: "/i", overlay: "/o", network: "host", memoryMiB: 512, cpus: 1.5 });
  const args = startArguments("kitty-0123456789ab", settings, { scratch: "/s", programs }).join(" ");
  expect(args).toContain("--memory 512M --cpus 1.5");
  expect(args).not.toContain("--network");
});

test("insideEnvironment() passes settings on, no secrets, and the instance's share of the GPUs", () => {
  const host = { HF_TOKEN: "x", AWS_SECRET: "x", PATH: "/x", PYTHONPATH: "/x", OMP_NUM_THREADS: "2" };
  const inside = insideEnvironment("1", { ...host, CUDA_VISIBLE_DEVICES: "0,1" });
  expect(inside).toMatchObject({ APPTAINERENV_OMP_NUM_THREADS: "2", APPTAINERENV_CUDA_VISIBLE_DEVICES: "1" });
  expect(Object.keys(inside).filter((name) => /TOKEN|AWS|_PATH$/.test(name))).toEqual([]);
  expect(inside["APPTAINERENV_PYTHONPATH"]).toBe("/opt/kitty-kv/python:/opt/kitty-kv/kernels");
  expect(insideEnvironment(null, { CUDA_VISIBLE_DEVICES: "0,1" })["APPTAINERENV_CUDA_VISIBLE_DEVICES"]).toBe("0,1");
});

test("checkSettings() refuses what would hide the image, hold secrets, or end an argument", () => {
  using folder = temporaryFolder();
  vi.stubEnv("KITTY_KV_HOME", join(folder.path, "state"));
  onTestFinished(() => void vi.unstubAllEnvs());
  mkdirSync(join(folder.path, "state"));
  mkdirSync(join(folder.path, "model"));
  mkdirSync(join(folder.path, "a,b"));
  const check = (model: string) => () => checkSettings({ image: "/i", overlay: "/o", modelFolders: [model] });
  for (const model of [
    "/",
    "/usr",
    "/usr/lib",
    "/etc/ssl",
    "/tmp",
    homedir(),
    folder.path,
    join(folder.path, "none"),
  ]) {
    expect(check(model), model).toThrow(expect.objectContaining({ code: "invalid_model_folder" }));
  }
  for (const model of [join(folder.path, "a,b"), `${folder.path}/model:/etc`, ""]) {
    expect(check(model), model).toThrow(expect.objectContaining({ code: "invalid_path" }));
  }
  const model = join(folder.path, "model");
  expect(check(model)()).toMatchObject({ modelFolders: [model] });
  for (const path of ["a:b", "a,b"]) {
    expect(() => checkSettings({ image: path, overlay: "/o" })).toThrow(
      expect.objectContaining({ code: "invalid_path" }),
    );
    expect(() => checkSettings({ image: "/i", overlay: path })).toThrow(
      expect.objectContaining({ code: "invalid_path" }),
    );
  }
  expect(() => checkSettings({ image: "/i", overlay: "/o", visibleDevices: "0 --writable" })).toThrow(
    expect.objectContaining({ code: "invalid_argument" }),
  );
});
