import { useCallback } from "preact/hooks";
import { call } from "../api/client.js";
import type { JsonSchema } from "../model/schema-form.js";
import { usePolled, type Polled } from "./use-polled.js";

interface ApiDocument {
  paths: Record<string, { post?: { requestBody?: { content: Record<string, { schema: JsonSchema }> } } }>;
}

/** The schema that the server checks job specs with, out of its own description of its API. */
export function useJobSchema(): Polled<JsonSchema> {
  return usePolled(
    useCallback(async (signal: AbortSignal) => {
      const { paths } = await call<ApiDocument>("/api/openapi.json", { signal });
      const schema = paths["/api/jobs"]?.post?.requestBody?.content["application/json"]?.schema;
      if (schema === undefined) throw new Error("The server does not say what a job is; load the page anew.");
      return schema;
    }, []),
  );
}
