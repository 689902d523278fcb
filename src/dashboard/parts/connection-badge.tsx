import type { Connection } from "../api/event-feed.js";
import { connection } from "../state/live.js";

const TEXTS: Readonly<Record<Connection, { text: string; title: string }>> = {
  connecting: { text: "Connecting", title: "The page is connecting to the orchestrator." },
  live: { text: "Live", title: "What happens is shown as it happens." },
  polling: {
    text: "Polling",
    title: "WebSockets do not get through to the orchestrator, so it is asked every two seconds.",
  },
  offline: {
    text: "Offline",
    title: "The orchestrator does not answer. The page goes on by itself, with nothing missed, when it does.",
  },
};

/** Whether what the page shows is what is. */
export function ConnectionBadge() {
  const state = connection.value;
  const { text, title } = TEXTS[state];
  return (
    <span class={`connection connection-${state}`} role="status" title={title}>
      <span class="dot" />
      {text}
    </span>
  );
}
