import { signal } from "@preact/signals";

const KEY = "kitty-kv.token";

/** What the server wants to see; undefined until somebody gives it. */
export const token = signal<string | undefined>(takeFromAddress() ?? localStorage.getItem(KEY) ?? undefined);

export function setToken(value: string): void {
  localStorage.setItem(KEY, value);
  token.value = value;
}

export function forgetToken(): void {
  localStorage.removeItem(KEY);
  token.value = undefined;
}

/** `kitty-kv up` prints an address with the token behind "#"; from here on it is in no address, history or link. */
function takeFromAddress(): string | undefined {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given === null || given === "") return undefined;
  history.replaceState(history.state, "", location.pathname + location.search);
  localStorage.setItem(KEY, given);
  return given;
}
