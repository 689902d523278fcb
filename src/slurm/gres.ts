/**
 * Counts GPUs in a generic resource as sinfo writes it: `gpu:2`, `gpu:a100:4(S:0-1)`, `gpu:h100:1(IDX:0),shard:8`,
 * `gpu:a100:2,gpu:v100:1`, `(null)`.
 */
export function parseGres(text: string): { gpus: number; types: string[] } {
  const types = new Set<string>();
  let gpus = 0;
  // Commas in brackets are of lists such as (IDX:0-1,3).
  for (const part of text.replace(/\([^)]*\)/g, "").split(",")) {
    const match = /^gpu(?::([^:]+))?:(\d+)$/.exec(part.trim());
    if (match === null) continue;
    gpus += Number(match[2]);
    if (match[1] !== undefined) types.add(match[1]);
  }
  return { gpus, types: [...types] };
}
