import { useCallback } from "preact/hooks";
import type { InstanceList } from "../../server/wire/instances.js";
import { call } from "../api/client.js";
import { findAlerts, type Alert } from "../model/alerts.js";
import { countStates } from "../model/job-query.js";
import { Alerts } from "../parts/alerts.js";
import { Gpus } from "../parts/gpus.js";
import { Headline } from "../parts/headline.js";
import { Notice } from "../parts/notice.js";
import { PageHead } from "../parts/page-head.js";
import { RunningJobs } from "../parts/running-jobs.js";
import { Sessions } from "../parts/sessions.js";
import { Throughput } from "../parts/throughput.js";
import { now } from "../state/clock.js";
import { loadError, watchTable } from "../state/live.js";
import { usePolled } from "../state/use-polled.js";
import { useSystem } from "../state/use-system.js";
import { useUsage } from "../state/use-usage.js";

/** What 2 bits save, and what runs, now. */
export function OverviewPage() {
  const usage = useUsage();
  const system = useSystem(5000);
  const instances = usePolled(
    useCallback((signal: AbortSignal) => call<InstanceList>("/api/instances", { signal }), []),
    10_000,
  );
  const samples = usage.data ?? [];
  const table = watchTable();
  const counts = countStates(table.all());
  const alerts: Alert[] = findAlerts({
    jobs: table.all(),
    system: system.data,
    latest: samples.at(-1),
    instances: instances.data?.instances ?? [],
    now: now.value,
  });
  const error = loadError.value ?? usage.error;
  return (
    <>
      <PageHead title="Overview">
        <a class="button" href="/playground">
          Open the playground
        </a>
        <a class="button primary" href="/jobs/new">
          New job
        </a>
      </PageHead>
      {error === undefined ? null : <Notice kind="error">{error}</Notice>}
      <Alerts alerts={alerts} />
      <Headline samples={samples} isLoading={usage.data === undefined} />
      <div class="columns">
        <Throughput samples={samples} counts={counts} />
        <Gpus samples={samples} />
      </div>
      <RunningJobs counts={counts} />
      <Sessions />
    </>
  );
}
