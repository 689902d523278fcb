import { useCallback, useEffect } from "preact/hooks";
import type { InstanceList } from "../../server/wire/instances.js";
import type { OverlayList } from "../../server/wire/overlays.js";
import { call } from "../api/client.js";
import { InstanceCard } from "../parts/instance-card.js";
import { Empty, Loading, Notice } from "../parts/notice.js";
import { OverlayCard } from "../parts/overlay-card.js";
import { PageHead } from "../parts/page-head.js";
import { recent } from "../state/live.js";
import { usePolled } from "../state/use-polled.js";

/** The containers that workers run in, and the overlays that they share. */
export function InstancesPage() {
  const instances = usePolled(
    useCallback((signal: AbortSignal) => call<InstanceList>("/api/instances", { signal }), []),
    5000,
  );
  const overlays = usePolled(
    useCallback((signal: AbortSignal) => call<OverlayList>("/api/overlays", { signal }), []),
    5000,
  );
  const latest = recent.value.find(({ topic }) => topic === "instance" || topic === "overlay")?.seq;
  useEffect(() => {
    if (latest === undefined) return;
    instances.refresh();
    overlays.refresh();
  }, [latest]);
  const error = instances.error ?? overlays.error;
  const refresh = (): void => {
    instances.refresh();
    overlays.refresh();
  };
  const { overlays: known = [], unreadable = [] } = overlays.data ?? {};
  return (
    <>
      <PageHead title="Instances" />
      {error === undefined ? null : <Notice kind="error">{error}</Notice>}
      {instances.data === undefined && error === undefined ? <Loading what="instances" /> : null}
      {instances.data?.instances.length === 0 ? <NoInstances /> : null}
      {instances.data?.instances.map((instance) => (
        <InstanceCard key={instance.name} instance={instance} onChange={refresh} />
      ))}
      {known.map((overlay) => (
        <OverlayCard key={overlay.path} overlay={overlay} />
      ))}
      {unreadable.map(({ path, error: { message } }) => (
        <Notice key={path} kind="warning">
          {message}
        </Notice>
      ))}
    </>
  );
}

function NoInstances() {
  return (
    <div class="card">
      <Empty title="No Apptainer instance runs.">
        <p>
          Start one with <code>kitty-kv instance start --image SIF --overlay IMG</code>, or start the orchestrator with{" "}
          <code>runner: apptainer</code>. With the local runner none is needed.
        </p>
      </Empty>
    </div>
  );
}
