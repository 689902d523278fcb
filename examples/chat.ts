// Two turns in one session: the second only pays for its own tokens. Run: npm run -s example chat
import { Kitty } from "kitty-kv";

await using kitty = await Kitty.start();
await using session = await kitty.sessions.open({ cache: { preset: "kitty" } });

for (const line of ["It was a dark night, and", " Suddenly"]) {
  const stream = session.generate(line, { maxNewTokens: 32, temperature: 0.8, topP: 0.95, seed: 1 });
  process.stdout.write(line);
  for await (const chunk of stream) process.stdout.write(chunk.text);
  const { usage, kvCache } = await stream.result();
  console.log(`\n[${usage.promptTokens} new prompt tokens, ${kvCache.tokens} tokens cached]`);
}
