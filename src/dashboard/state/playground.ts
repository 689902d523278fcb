import { signal } from "@preact/signals";
import { token } from "../api/token.js";
import { PlaygroundPane } from "./playground-pane.js";

export const PRESETS = ["fp16", "kivi-2", "kivi-2-sink", "kitty", "kitty-pro", "kitty-q", "kitty-q-pro"] as const;

/** What both sides get. */
export const settings = signal({ prompt: "Once upon a time", maxNewTokens: "200", temperature: "0", seed: "" });
export const left = new PlaygroundPane("kitty-pro");
export const right = new PlaygroundPane("fp16");

/** Goes on with both sides at once. */
export async function runBoth(): Promise<void> {
  const { prompt, maxNewTokens, temperature, seed } = settings.value;
  const options = {
    maxNewTokens: Number(maxNewTokens),
    temperature: Number(temperature),
    ...(seed === "" ? {} : { seed: Number(seed) }),
  };
  await Promise.all([left.run(prompt, options), right.run(prompt, options)]);
}

/** The sessions live as long as the page: going to another part of it and back finds them. */
addEventListener("pagehide", () => {
  for (const { session } of [left, right]) {
    if (session.value === undefined) continue;
    void fetch(`/api/sessions/${encodeURIComponent(session.value.id)}`, {
      method: "DELETE",
      headers: { authorization: `Bearer ${token.value ?? ""}` },
      keepalive: true,
    });
    session.value = undefined;
  }
});
