import { endpoint } from "../endpoint.js";
import type { ServedModel } from "../served-model.js";
import { modelListSchema, modelSchema } from "../wire/openai-answers.js";

export const listModels = endpoint({
  method: "get",
  path: "/v1/models",
  tag: "openai",
  summary: "List models",
  answers: [{ description: "The model that is served", schema: modelListSchema }],
  handle: ({ services }) => Promise.resolve({ object: "list", data: [describe(services.model)] }),
});

export const getModel = endpoint({
  method: "get",
  path: "/v1/models/{model}",
  tag: "openai",
  summary: "Show a model",
  answers: [{ description: "The model", schema: modelSchema }],
  handle: ({ services, params }) => {
    services.model.check(params["model"] ?? "");
    return Promise.resolve(describe(services.model));
  },
});

function describe({ description, created }: ServedModel) {
  return {
    id: description.name,
    object: "model",
    created,
    owned_by: "kitty-kv",
    max_model_len: description.contextLength,
    chat_template: description.chatTemplate,
  };
}
