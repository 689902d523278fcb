import { afterEach, expect, test, vi } from "vitest";
import { findPython } from "../../../src/runner/find-python.js";
import { workerEnvironment } from "../../../src/runner/worker-environment.js";
import { fixturePath } from "../fixture-worker.js";

afterEach(() => {
  vi.unstubAllEnvs();
});

test("findPython() takes the option before KITTY_KV_PYTHON, and that before .venv", () => {
  vi.stubEnv("KITTY_KV_PYTHON", fixturePath("silent_worker"));
  expect(findPython(fixturePath("good_worker"), "/nowhere")).toBe(fixturePath("good_worker"));
  expect(findPython(null, "/nowhere")).toBe(fixturePath("silent_worker"));
  vi.stubEnv("KITTY_KV_PYTHON", "");
  expect(() => findPython(null, "/nowhere")).toThrow('no Python at "/nowhere/.venv/bin/python"');
});

test("findPython() says where a wrong path came from and what to do", () => {
  vi.stubEnv("KITTY_KV_PYTHON", "/no/python");
  expect(() => findPython(null, "/nowhere")).toThrow(
    'Cannot start a worker: no Python at "/no/python" (from KITTY_KV_PYTHON), run "npm start" once or set KITTY_KV_PYTHON',
  );
});

test("a worker sees what models need of the environment, and no secrets", () => {
  const environment = {
    PATH: "/bin",
    HF_HOME: "/hf",
    CUDA_VISIBLE_DEVICES: "0",
    AWS_SECRET_ACCESS_KEY: "s",
    NODE_OPTIONS: "x",
    PYTHONPATH: "/mine",
  };
  expect(workerEnvironment("/package", environment)).toEqual({
    PATH: "/bin",
    HF_HOME: "/hf",
    CUDA_VISIBLE_DEVICES: "0",
    PYTHONPATH: "/package/python:/package/kernels:/mine",
    PYTHONUNBUFFERED: "1",
  });
});
