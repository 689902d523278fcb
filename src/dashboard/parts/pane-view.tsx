import { useEffect, useId, useRef } from "preact/hooks";
import { formatBytes, formatNumber } from "../model/format.js";
import { PRESETS } from "../state/playground.js";
import type { PlaygroundPane } from "../state/playground-pane.js";
import { Figure } from "./card.js";
import { Notice } from "./notice.js";

interface PaneViewProps {
  pane: PlaygroundPane;
  other: PlaygroundPane;
  name: string;
}

/** One side: its preset, what is written, what it costs, and what can be done with its session. */
export function PaneView({ pane, other, name }: PaneViewProps) {
  const id = useId();
  const isBusy = pane.state.value !== "idle";
  return (
    <section class="card pane" aria-labelledby={id}>
      <div class="card-head">
        <h2 id={id} class="hidden">
          {name} session
        </h2>
        <select
          class="fit"
          aria-label={`Preset of the ${name.toLowerCase()} session`}
          value={pane.preset.value}
          disabled={isBusy}
          onChange={({ currentTarget }) => void pane.reset(currentTarget.value)}
        >
          {PRESETS.map((preset) => (
            <option key={preset} value={preset}>
              {preset}
            </option>
          ))}
        </select>
        <span class="muted" title={pane.origin.value}>
          {statusText(pane)}
        </span>
      </div>
      <PaneFigures pane={pane} />
      <Transcript pane={pane} name={name} />
      {pane.error.value === undefined ? null : <Notice kind="error">{pane.error.value}</Notice>}
      <PaneActions pane={pane} other={other} name={name} isBusy={isBusy} />
    </section>
  );
}

function statusText({ state, session, origin }: PlaygroundPane): string {
  if (state.value === "opening") return "opening a session …";
  if (state.value === "generating") return "writing …";
  if (session.value === undefined) return "a new session";
  return origin.value === undefined ? `session ${session.value.id}` : `session ${session.value.id}, ${origin.value}`;
}

function PaneFigures({ pane }: { pane: PlaygroundPane }) {
  const { tokens, timeToFirstTokenMs, tokensPerSecond } = pane.figures.value;
  const memory = pane.memory.value;
  const used = memory === undefined ? 0 : memory.packedBytes + memory.fullPrecisionBytes;
  return (
    <div class="figures pane-figures">
      <Figure
        label="Speed"
        value={tokensPerSecond === null ? "–" : formatNumber(tokensPerSecond)}
        unit="tokens/s"
        hint={`${formatNumber(tokens)} tokens`}
      />
      <Figure
        label="First token"
        value={timeToFirstTokenMs === null ? "–" : formatNumber(timeToFirstTokenMs)}
        unit="ms"
        hint="after the prompt"
      />
      <Figure
        label="KV cache"
        value={memory === undefined ? "–" : formatBytes(used)}
        hint={memory === undefined ? "nothing yet" : `${formatBytes(memory.denseBytes)} at 16 bits`}
      />
    </div>
  );
}

/** All that was written; it stays at its end while more comes. */
function Transcript({ pane, name }: { pane: PlaygroundPane; name: string }) {
  const holder = useRef<HTMLDivElement>(null);
  const turns = pane.turns.value;
  useEffect(() => {
    const element = holder.current;
    if (element !== null) element.scrollTop = element.scrollHeight;
  }, [turns]);
  return (
    <div
      ref={holder}
      class="transcript"
      tabIndex={0}
      role="log"
      aria-label={`${name} text`}
      aria-busy={pane.state.value === "generating"}
    >
      {turns.length === 0 ? <p class="muted">{pane.origin.value ?? "What the model writes comes here."}</p> : null}
      {turns.map(({ prompt, text }, index) => (
        <p key={index}>
          <span class="turn-prompt">{prompt}</span>
          {text}
        </p>
      ))}
    </div>
  );
}

function PaneActions({ pane, other, name, isBusy }: PaneViewProps & { isBusy: boolean }) {
  const file = useRef<HTMLInputElement>(null);
  const hasNone = pane.session.value === undefined;
  return (
    <div class="actions">
      <button type="button" class="small" disabled={isBusy || hasNone} onClick={() => void pane.save()}>
        Save
      </button>
      <button type="button" class="small" disabled={isBusy} onClick={() => file.current?.click()}>
        Restore …
      </button>
      <input
        ref={file}
        type="file"
        class="hidden"
        tabIndex={-1}
        aria-label={`Restore the ${name.toLowerCase()} session from a file`}
        onChange={({ currentTarget }) => {
          const [chosen] = currentTarget.files ?? [];
          if (chosen !== undefined) void pane.restore(chosen);
          currentTarget.value = "";
        }}
      />
      <button
        type="button"
        class="small"
        disabled={isBusy || hasNone || other.state.value !== "idle"}
        title="The other side goes on from here with a copy"
        onClick={() => void other.forkFrom(pane)}
      >
        Fork to the other side
      </button>
      <button
        type="button"
        class="small"
        disabled={hasNone && pane.turns.value.length === 0}
        onClick={() => void pane.reset()}
      >
        Start anew
      </button>
    </div>
  );
}
