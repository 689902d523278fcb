import type { KvCacheMemory } from "../../server/wire/sessions.js";
import { call, messageOf } from "../api/client.js";
import { formatBytes, formatNumber } from "../model/format.js";
import { say } from "../state/toasts.js";
import { useSessions, type MeasuredSession } from "../state/use-sessions.js";
import { Ago } from "./ago.js";
import { Card } from "./card.js";
import { Empty, Loading } from "./notice.js";

/** Open sessions and what each one's cache holds. */
export function Sessions() {
  const { data, error, refresh } = useSessions();
  return (
    <Card title="Sessions" aside={<span class="muted">opened over HTTP</span>} isFlush>
      {data === undefined ? (
        error === undefined ? (
          <Loading what="sessions" />
        ) : (
          <Empty title={error} />
        )
      ) : data.length === 0 ? (
        <Empty title="No session is open.">
          <p>
            The <a href="/playground">playground</a> opens some, and so does <code>POST /api/sessions</code>.
          </p>
        </Empty>
      ) : (
        <SessionTable sessions={data} onChange={refresh} />
      )}
    </Card>
  );
}

function SessionTable({ sessions, onChange }: { sessions: readonly MeasuredSession[]; onChange: () => void }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Table of sessions">
      <table>
        <thead>
          <tr>
            <th scope="col">Session</th>
            <th scope="col">Model</th>
            <th scope="col">Preset</th>
            <th scope="col" class="number">
              Tokens
            </th>
            <th scope="col" class="number">
              KV cache
            </th>
            <th scope="col" class="number">
              At 16 bits
            </th>
            <th scope="col">Opened</th>
            <th scope="col">
              <span class="hidden">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {sessions.map((session) => (
            <SessionRow key={session.id} session={session} onChange={onChange} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function SessionRow({ session, onChange }: { session: MeasuredSession; onChange: () => void }) {
  const { id, model, memory, openedAt, generating } = session;
  return (
    <tr>
      <th scope="row">
        <code>{id}</code> {generating ? <span class="tag">generating</span> : null}
      </th>
      <td>{model.name}</td>
      <td>{memory?.preset ?? "own"}</td>
      <td class="number">{memory === undefined ? "–" : formatNumber(memory.tokens)}</td>
      <td class="number">{memory === undefined ? "–" : usedText(memory)}</td>
      <td class="number">{memory === undefined ? "–" : formatBytes(memory.denseBytes)}</td>
      <td>
        <Ago time={openedAt} />
      </td>
      <td class="number">
        <button type="button" class="small" aria-label={`Close session ${id}`} onClick={() => void close(id, onChange)}>
          Close
        </button>
      </td>
    </tr>
  );
}

function usedText({ packedBytes, fullPrecisionBytes, compression, tokens }: KvCacheMemory): string {
  const ratio = tokens > 0 ? ` (${compression.toFixed(1)}×)` : "";
  return `${formatBytes(packedBytes + fullPrecisionBytes)}${ratio}`;
}

async function close(id: string, onChange: () => void): Promise<void> {
  try {
    await call(`/api/sessions/${encodeURIComponent(id)}`, { method: "DELETE" });
    say(`Session ${id} is closed.`);
  } catch (error) {
    say(messageOf(error), { isError: true });
  }
  onChange();
}
