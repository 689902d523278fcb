import { stringify } from "yaml";

/** A plain value as YAML that `parseYaml` reads back as the same. */
export function formatYaml(value: unknown): string {
  return stringify(value, { lineWidth: 0 });
}
