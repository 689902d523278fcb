import { useCallback, useState } from "preact/hooks";
import type { LogPage, WireInstance } from "../../server/wire/instances.js";
import { call, messageOf } from "../api/client.js";
import { say } from "../state/toasts.js";
import { Ago } from "./ago.js";
import { Card } from "./card.js";
import { LogView } from "./log-view.js";

const HEALTH: Readonly<Record<WireInstance["state"], { text: string; kind: string }>> = {
  starting: { text: "starting", kind: "starting" },
  ready: { text: "ready", kind: "succeeded" },
  dead: { text: "dead", kind: "failed" },
  orphaned: { text: "orphaned: whoever started it is gone", kind: "timed_out" },
  elsewhere: { text: "on another machine", kind: "queued" },
};

/** One container: what it runs on, how it is, what it says, and its restart. */
export function InstanceCard({ instance, onChange }: { instance: WireInstance; onChange: () => void }) {
  const { name, state } = instance;
  const [isLogShown, setLogShown] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const act = async (work: () => Promise<string>): Promise<void> => {
    setBusy(true);
    try {
      say(await work());
    } catch (error) {
      say(messageOf(error), { isError: true });
    }
    setBusy(false);
    onChange();
  };
  return (
    <Card
      title={name}
      aside={
        <span class={`state state-${HEALTH[state].kind}`}>
          <span class="dot" />
          {HEALTH[state].text}
        </span>
      }
    >
      <InstanceFacts instance={instance} />
      <div class="actions">
        <button
          type="button"
          class="small"
          aria-expanded={isLogShown}
          onClick={() => {
            setLogShown(!isLogShown);
          }}
        >
          {isLogShown ? "Hide the log" : "Show the log"}
        </button>
        <button
          type="button"
          class="small"
          disabled={isBusy || state === "elsewhere"}
          onClick={() => void act(() => restart(instance))}
        >
          Restart
        </button>
        <button
          type="button"
          class="small danger"
          disabled={isBusy || state === "elsewhere"}
          onClick={() => void act(() => stop(name))}
        >
          Stop
        </button>
      </div>
      {isLogShown ? <InstanceLog name={name} /> : null}
    </Card>
  );
}

function InstanceFacts({ instance }: { instance: WireInstance }) {
  const { image, overlay, startedAt } = instance;
  return (
    <dl class="values">
      <Value name="Image" value={image} isWide />
      <Value name="Overlay" value={overlay} isWide />
      <Value name="GPUs" value={instance.hasNvidia ? (instance.visibleDevices ?? "all") : "none"} />
      <Value name="Network" value={instance.network} />
      <Value name="Memory" value={instance.memoryMiB === null ? "no limit" : `${String(instance.memoryMiB)} MiB`} />
      <Value name="Processors" value={instance.cpus === null ? "no limit" : String(instance.cpus)} />
      <div>
        <dt>Started</dt>
        <dd>
          <Ago time={startedAt} />
        </dd>
      </div>
    </dl>
  );
}

function InstanceLog({ name }: { name: string }) {
  const read = useCallback(
    (offset: number, limitBytes: number, signal: AbortSignal) => {
      const query = `offset=${String(offset)}&limitBytes=${String(limitBytes)}`;
      return call<LogPage>(`/api/instances/${encodeURIComponent(name)}/logs?${query}`, { signal });
    },
    [name],
  );
  return (
    <div class="log-frame">
      <LogView read={read} logKey={name} />
    </div>
  );
}

function Value({ name, value, isWide = false }: { name: string; value: string; isWide?: boolean }) {
  return (
    <div class={isWide ? "value-wide" : ""}>
      <dt>{name}</dt>
      <dd>{isWide ? <code>{value}</code> : value}</dd>
    </div>
  );
}

async function stop(name: string): Promise<string> {
  await call(`/api/instances/${encodeURIComponent(name)}`, { method: "DELETE" });
  return `Instance ${name} is stopped.`;
}

/** Another one on the same image and overlay, with the same limits, once the old one is gone. */
async function restart(instance: WireInstance): Promise<string> {
  const { name, image, overlay, modelFolders, hasNvidia, visibleDevices, network, memoryMiB, cpus } = instance;
  await call(`/api/instances/${encodeURIComponent(name)}`, { method: "DELETE" });
  const body = { image, overlay, modelFolders, nvidia: hasNvidia, visibleDevices, network, memoryMiB, cpus };
  const { instances } = await call<{ instances: WireInstance[] }>("/api/instances", { body });
  return `Instance ${name} is stopped, and ${instances[0]?.name ?? "another one"} runs in its place.`;
}
