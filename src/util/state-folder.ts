import { homedir } from "node:os";
import { join, resolve } from "node:path";

/** Where state lives: KITTY_KV_HOME, else `~/.kitty-kv`. Nothing is made. */
export function stateFolder(): string {
  const { KITTY_KV_HOME } = process.env;
  return KITTY_KV_HOME === undefined || KITTY_KV_HOME === "" ? join(homedir(), ".kitty-kv") : resolve(KITTY_KV_HOME);
}
