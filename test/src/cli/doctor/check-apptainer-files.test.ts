import { join } from "node:path";
import { expect, test } from "vitest";
import { checkApptainerFiles } from "../../../../src/cli/doctor/check-apptainer-files.js";
import { resolveConfig } from "../../../../src/index.js";

test("checkApptainerFiles() says on what file system the configured image and overlay are, and what is missing", () => {
  expect(checkApptainerFiles(resolveConfig())).toEqual([]);
  const image = join(import.meta.dirname, "check-apptainer-files.test.ts");
  const checks = checkApptainerFiles(resolveConfig({ apptainer: { image, overlay: "/no/kitty.img" } }));
  expect(checks).toMatchObject([
    { name: "image file", status: "ok", found: expect.stringMatching(/^on \S+, \//) as string },
    { name: "overlay file", status: "failed", found: "there is no /no/kitty.img" },
  ]);
});
