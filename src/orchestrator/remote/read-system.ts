import { z } from "zod";
import { resolveConfig } from "../../config/load.js";
import { configSchema, type Config } from "../../config/schema.js";
import { KittyError } from "../../errors.js";
import type { HttpClient } from "./http-client.js";

const systemSchema = z.looseObject({ version: z.string(), config: z.record(z.string(), z.unknown()) });

/**
 * What a server says of itself.
 * @throws UnauthorizedError, KittyError `unreachable` or `invalid_answer`
 */
export async function readSystem(
  client: HttpClient,
  signal: AbortSignal | undefined,
): Promise<{ version: string; config: Config }> {
  const { version, config } = await client.call("/api/system", systemSchema, { signal });
  if (configSchema.safeParse(config).success) return { version, config: resolveConfig(config) };
  throw new KittyError(
    `Cannot connect: the server is Kitty KV ${version}, whose configuration this version does not know; use the same version on both sides`,
    { code: "invalid_answer", details: { version } },
  );
}
