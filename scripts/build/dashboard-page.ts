import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { Options } from "tsup";

type TsupPlugin = NonNullable<Options["plugins"]>[number];

const SOURCE = "src/dashboard";

/** Writes the dashboard's page, which names its script and style by the hashes of their contents. */
export function dashboardPage(): TsupPlugin {
  return {
    name: "dashboard-page",
    buildEnd({ writtenFiles }) {
      const names = writtenFiles.map(({ name }) => name);
      const script = names.find((name) => name.endsWith(".js"));
      const style = names.find((name) => name.endsWith(".css"));
      if (script === undefined || style === undefined) {
        throw new Error(
          `Cannot write the dashboard's page: the build made no script or no style, only ${names.join(", ")}`,
        );
      }
      const folder = join("dist", "dashboard");
      const icon = readFileSync(join(SOURCE, "icon.svg"));
      const iconName = `icon-${createHash("sha256").update(icon).digest("hex").slice(0, 8)}.svg`;
      writeFileSync(join(folder, "assets", iconName), icon);
      const page = readFileSync(join(SOURCE, "index.html"), "utf8")
        .replace("ICON", iconName)
        .replace("STYLE", basename(style))
        .replace("SCRIPT", basename(script));
      writeFileSync(join(folder, "index.html"), page);
    },
  };
}
