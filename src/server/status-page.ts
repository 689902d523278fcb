import { endpoint, type Endpoint } from "./endpoint.js";

const HTML = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Kitty KV</title>
<link rel="stylesheet" href="/status.css">
<h1>Kitty KV</h1>
<p id="state" role="status">Asking the orchestrator …</p>
<dl id="facts"></dl>
<p>The API is described in <code>GET /api/openapi.json</code>; any OpenAI client works with <code>/v1</code>.</p>
<script src="/status.js"></script>
</html>
`;

const CSS = `:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 40rem; margin: 3rem auto; padding: 0 1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.25rem 1.5rem; }
dt { font-weight: 600; }
dd { margin: 0; }
`;

// The token is in the address behind "#", which browsers send to nobody.
const SCRIPT = `const token = new URLSearchParams(location.hash.slice(1)).get("token");
const state = document.getElementById("state");
async function show() {
  if (token === null) {
    state.textContent = 'Open the address that "kitty-kv up" prints: it ends with the token.';
    return;
  }
  const response = await fetch("/api/system", { headers: { authorization: "Bearer " + token } });
  const body = await response.json();
  if (!response.ok) {
    state.textContent = body.error.message;
    return;
  }
  state.textContent = body.ready ? "Ready." : "Loading the model …";
  const facts = {
    Version: body.version,
    Model: body.config.model ?? "the bundled one",
    "KV cache": body.config.cache.preset,
    Runner: body.config.runner,
    "Open sessions": body.sessions,
    "Running generations": body.generations,
    Uptime: Math.round(body.uptimeSeconds) + " s",
  };
  const list = document.getElementById("facts");
  list.replaceChildren(...Object.entries(facts).flatMap(([name, value]) => {
    const term = document.createElement("dt");
    const text = document.createElement("dd");
    term.textContent = name;
    text.textContent = String(value);
    return [term, text];
  }));
}
function refresh() {
  show().catch(() => { state.textContent = "The orchestrator does not answer."; });
}
refresh();
setInterval(refresh, 2000);
`;

/** What a browser shows of the server: no data without a token, and nothing from elsewhere. */
export const STATUS_PAGE: readonly Endpoint[] = [
  page("/", "text/html", HTML),
  page("/status.css", "text/css", CSS),
  page("/status.js", "text/javascript", SCRIPT),
];

function page(path: string, contentType: string, text: string): Endpoint {
  return endpoint({
    ...{ method: "get", path, tag: "system", summary: `Show ${path}`, isOpen: true },
    answers: [{ description: path, contentType }],
    handle: ({ response }) => {
      response.type(`${contentType}; charset=utf-8`).send(text);
      return Promise.resolve(undefined);
    },
  });
}
