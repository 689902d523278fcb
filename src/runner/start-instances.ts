import { checkSettings, type CheckedSettings, type InstanceSettings } from "../apptainer/instance-settings.js";
import { InstanceLog } from "../apptainer/instance-log.js";
import { writeRecord, type InstanceRecord } from "../apptainer/instance-record.js";
import { removeOrphans } from "../apptainer/list-instances.js";
import { readManifest } from "../apptainer/overlay-manifest.js";
import { acquireOverlayLease, type OverlayLease } from "../apptainer/overlay-lease.js";
import { startInstance } from "../apptainer/start-instance.js";
import { discardInstance } from "../apptainer/stop-instance.js";
import { verifyOverlay } from "../apptainer/verify-overlay.js";
import type { ApptainerOptions } from "../apptainer/apptainer.js";
import { abortable } from "../bridge/abortable.js";
import { resolveConfig } from "../config/load.js";
import type { Config } from "../config/schema.js";
import { mapAtMost } from "../util/map-at-most.js";
import { instanceWorkerCommand, programFolders } from "./instance-worker.js";
import { launchWorker } from "./launch-worker.js";
import { workerLimits } from "./worker-limits.js";

// Apptainer starts fail at random when a few dozen come at once.
const AT_ONCE = 4;
const STOP_LIMITS = { graceMs: 5000, killAfterMs: 2000 };

export interface StartInstancesOptions extends ApptainerOptions {
  /** @default 1 */
  count?: number | undefined;
  /** Time limits of the worker that is tried in each. @default the configuration's */
  worker?: Config["worker"] | undefined;
  /** The Python executable as instances see it. @default the overlay's */
  python?: string | undefined;
}

/**
 * Starts instances that live until they are stopped, and tries a worker in each: one is ready when its worker has
 * imported everything and answers. All or none.
 * @throws ConfigError, NotFoundError, OverlayInUseError, UnsupportedError `overlay_not_sealed`; KittyError
 *   `overlay_tampered`, `overlay_image_mismatch`, `instance_start_failed`; WorkerExitedError when its worker fails
 */
export async function startInstances(
  settings: InstanceSettings,
  options: StartInstancesOptions,
): Promise<InstanceRecord[]> {
  const { count = 1, signal, onProgress } = options;
  const checked = checkSettings(settings);
  await using lease = await prepareOverlay(checked, options);
  const stop = signal === undefined ? lease.lost : AbortSignal.any([signal, lease.lost]);
  const started: InstanceRecord[] = [];
  try {
    return await mapAtMost(Array.from({ length: count }), AT_ONCE, async () => {
      const instance = await startInstance(checked, {
        ...options,
        signal: stop,
        programs: programFolders(),
        isOwned: false,
      });
      started.push(instance);
      await tryWorker(instance, { ...options, signal: stop });
      const ready = { ...instance, isReady: true };
      await writeRecord(ready);
      onProgress?.(`${instance.name} is ready`);
      return ready;
    });
  } catch (error) {
    await mapAtMost(started, AT_ONCE, ({ name }) => discardInstance(name, options));
    throw error;
  }
}

/**
 * Makes sure that instances may start on an overlay: it is sealed, unchanged, of this image, and nobody writes it.
 * @returns a reader's lease, to be held until the instances have theirs
 */
export async function prepareOverlay(
  { overlay, image }: CheckedSettings,
  options: Pick<ApptainerOptions, "signal" | "program">,
): Promise<OverlayLease> {
  const { signal } = options;
  // Before the lease, which would make a folder beside an overlay that does not exist.
  await readManifest(overlay);
  const lease = await acquireOverlayLease(overlay, { kind: "reader", purpose: "start instances", signal });
  try {
    await verifyOverlay(overlay, { image, trustsUnchanged: true, signal });
    await removeOrphans(options);
    return lease;
  } catch (error) {
    await lease.release();
    throw error;
  }
}

async function tryWorker(instance: InstanceRecord, options: StartInstancesOptions): Promise<void> {
  const { signal, worker: config = resolveConfig().worker, python = null, program } = options;
  const log = new InstanceLog(instance.name);
  const limits = workerLimits(config);
  const command = instanceWorkerCommand(instance, { python, engine: limits.engine, program });
  const worker = await launchWorker(command, limits, {
    signal,
    onLog: ({ text }) => {
      log.write(text);
    },
  });
  try {
    const { pid } = await worker.hello;
    const { torch } = await abortable(worker.ready, signal, "try a worker");
    log.write(`a worker answered (process ${String(pid)} inside, torch ${torch})`);
  } finally {
    await worker.stop(STOP_LIMITS);
  }
}
