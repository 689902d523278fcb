import { expect, test } from "vitest";
import { parseGpus } from "../../../src/runner/read-gpus.js";

test("nvidia-smi's lines are read, whatever a GPU is called and whatever the driver does not say", () => {
  expect(parseGpus("NVIDIA H100 80GB HBM3, 37, 1024, 81559\nOdd, Name, [N/A], 0, 2048\n\nnonsense\n")).toEqual([
    { name: "NVIDIA H100 80GB HBM3", utilization: 37, usedBytes: 2 ** 30, totalBytes: 81_559 * 2 ** 20 },
    { name: "Odd, Name", utilization: null, usedBytes: 0, totalBytes: 2 ** 31 },
  ]);
});
