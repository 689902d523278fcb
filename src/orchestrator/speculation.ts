import { z } from "zod";
import { ConfigError } from "../errors.js";

/** Speculative decoding: tokens are drafted cheaply and verified in one pass; the text is what it would be without. */
export type Speculation =
  | { method: "none" }
  | {
      /** Repeats what followed the latest tokens when they last came up in prompt or text. */
      method: "prompt-lookup";
      /** Most tokens of a draft, at most 15. @default 5 */
      draftTokens?: number | undefined;
      /** Look for so many of the latest tokens first, then for fewer. @default 4 */
      ngramMax?: number | undefined;
      /** @default 2 */
      ngramMin?: number | undefined;
    }
  | {
      /** Asks a smaller model with the same tokenizer. */
      method: "draft-model";
      /** Folder or hub id, as the worker sees it. */
      model: string;
      /** Most tokens of a draft, at most 15. @default 5 */
      draftTokens?: number | undefined;
    };

const count = z.number().int().positive();

/** Of whatever method; `checkSpeculation` says which fields belong together. */
export const speculationSchema = z.strictObject({
  method: z.enum(["none", "prompt-lookup", "draft-model"]),
  draftTokens: count.max(15).optional(),
  ngramMax: count.optional(),
  ngramMin: count.optional(),
  model: z.string().min(1).optional(),
});

/**
 * Checks that a draft model is named where one drafts, and only there.
 * @throws ConfigError
 */
export function checkSpeculation({ method, model }: z.output<typeof speculationSchema>): void {
  if ((method === "draft-model") === (model !== undefined)) return;
  const wanted = model === undefined ? "must be the draft model's folder or hub id" : "must be left out";
  throw new ConfigError(
    `Cannot generate: with method "${method}" speculation.model ${wanted}, got ${JSON.stringify(model ?? null)}`,
    { details: { path: "speculation.model" } },
  );
}
