// The SDK in eight lines. Run: npm run -s example generate
import { Kitty } from "kitty-kv";

await using kitty = await Kitty.start({ config: "configs/local.yaml" });
await using session = await kitty.sessions.open({ cache: { preset: "kitty-pro" } });
const stream = session.generate("Once upon a time", { maxNewTokens: 64 });
for await (const chunk of stream) process.stdout.write(chunk.text);
const { finishReason, usage, kvCache } = await stream.result();
console.log(
  `\n${finishReason} after ${usage.completionTokens} tokens, cache ${kvCache.compression.toFixed(2)}x smaller`,
);
