import { useCallback, useMemo, useState } from "preact/hooks";
import type { Check, Doctor, System } from "../../server/wire/system.js";
import { call } from "../api/client.js";
import { forgetToken } from "../api/token.js";
import { formatBytes, formatDuration } from "../model/format.js";
import { flatten, type Scalar } from "../model/figures.js";
import { Card, Figure } from "../parts/card.js";
import { Loading, Notice } from "../parts/notice.js";
import { PageHead } from "../parts/page-head.js";
import { usePolled } from "../state/use-polled.js";
import { useSystem } from "../state/use-system.js";

/** The orchestrator and the machine that it runs on. */
export function SystemPage() {
  const { data, error } = useSystem(5000);
  return (
    <>
      <PageHead title="System">
        <button type="button" onClick={forgetToken}>
          Forget the token
        </button>
      </PageHead>
      {error === undefined ? null : <Notice kind="error">{error}</Notice>}
      {data === undefined ? (
        error === undefined ? (
          <Loading what="the orchestrator" />
        ) : null
      ) : (
        <Orchestrator system={data} />
      )}
      <DoctorCard />
      {data === undefined ? null : <ConfigCard config={data.config} />}
    </>
  );
}

function Orchestrator({ system }: { system: System }) {
  return (
    <Card title="Orchestrator" aside={<span class="tag">{system.ready ? "ready" : "loading the model"}</span>}>
      <div class="figures">
        <Figure label="Version" value={system.version} hint={`Node ${system.node}`} />
        <Figure
          label="Up for"
          value={formatDuration(Math.floor(system.uptimeSeconds))}
          hint={`process ${String(system.pid)}`}
        />
        <Figure label="Memory" value={formatBytes(system.memoryBytes)} hint="of the orchestrator itself" />
        <Figure label="Sessions" value={system.sessions} hint={`${String(system.generations)} generations`} />
      </div>
    </Card>
  );
}

const SIGNS: Readonly<Record<Check["status"], { text: string; kind: string }>> = {
  ok: { text: "works", kind: "succeeded" },
  failed: { text: "does not work", kind: "failed" },
  info: { text: "for information", kind: "queued" },
};

/** What doctor finds on this machine. */
function DoctorCard() {
  const [run, setRun] = useState(0);
  const { data, error } = usePolled(
    useCallback((signal: AbortSignal) => call<Doctor>("/api/doctor", { signal }), [run]),
  );
  return (
    <Card
      title="This machine"
      aside={
        <button
          type="button"
          class="small"
          onClick={() => {
            setRun(run + 1);
          }}
        >
          Check again
        </button>
      }
      isFlush
    >
      {error === undefined ? null : <Notice kind="error">{error}</Notice>}
      {data === undefined ? (
        error === undefined ? (
          <Loading what="the checks, which takes some seconds" />
        ) : (
          <span />
        )
      ) : (
        <Checks checks={data.checks} />
      )}
    </Card>
  );
}

function Checks({ checks }: { checks: readonly Check[] }) {
  return (
    <ul class="checks">
      {checks.map(({ name, status, found, remedy }) => (
        <li key={name}>
          <span class={`state state-${SIGNS[status].kind}`}>
            <span class="dot" />
            <span class="hidden">{SIGNS[status].text}: </span>
            {name}
          </span>
          <span class="check-found">
            {found}
            {remedy === undefined ? null : <span class="check-remedy">To do: {remedy}</span>}
          </span>
        </li>
      ))}
    </ul>
  );
}

function ConfigCard({ config }: { config: System["config"] }) {
  const rows = useMemo(() => {
    const values: Record<string, Scalar> = {};
    flatten("", config, values);
    return Object.entries(values);
  }, [config]);
  return (
    <Card title="Configuration">
      <details>
        <summary>{String(rows.length)} values, with the defaults</summary>
        <div class="scroll" tabIndex={0} role="region" aria-label="Table of the configuration">
          <table class="config">
            <tbody>
              {rows.map(([name, value]) => (
                <tr key={name}>
                  <th scope="row">
                    <code>{name}</code>
                  </th>
                  <td>{value === null ? "not set" : value === "" ? "none" : String(value)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </Card>
  );
}
