import { useState } from "preact/hooks";
import { messageOf } from "../api/client.js";
import { setToken } from "../api/token.js";
import { Icon } from "../parts/icon.js";
import { Notice } from "../parts/notice.js";

/** Asks for the token, which is then sent in headers and kept in this browser. */
export function SignInPage() {
  const [error, setError] = useState<string | undefined>();
  const [value, setValue] = useState("");
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setError(undefined);
    const problem = await whyWrong(value.trim());
    if (problem === undefined) setToken(value.trim());
    else setError(problem);
  };
  return (
    <main class="sign-in">
      <form class="card" onSubmit={(event) => void submit(event)}>
        <div class="brand">
          <Icon name="brand" />
          <h1>Kitty KV</h1>
        </div>
        <p>
          Open the address that <code>kitty-kv up</code> prints, which brings the token along, or paste the token here.
        </p>
        <label class="field">
          <span>Token</span>
          <input
            type="password"
            autoComplete="current-password"
            required
            value={value}
            onInput={(event) => {
              setValue(event.currentTarget.value);
            }}
          />
        </label>
        {error === undefined ? null : <Notice kind="error">{error}</Notice>}
        <button type="submit" class="primary">
          Open the dashboard
        </button>
      </form>
    </main>
  );
}

/** @returns undefined when the server takes the token */
async function whyWrong(token: string): Promise<string | undefined> {
  if (!/^[\x21-\x7e]+$/.test(token)) return "A token has no spaces and only plain characters; paste it once more.";
  try {
    const { status } = await fetch("/api/system", { headers: { authorization: `Bearer ${token}` } });
    if (status === 401)
      return "The orchestrator does not take this token; it is in KITTY_KV_HOME/token on its machine.";
    return undefined;
  } catch (error) {
    return `The orchestrator does not answer: ${messageOf(error)}.`;
  }
}
