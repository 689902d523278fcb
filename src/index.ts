export { Kitty, type KittyOptions } from "./orchestrator/kitty.js";
export type { OpenSessionOptions, SessionService } from "./orchestrator/sessions.js";
export type { ConnectOptions } from "./orchestrator/remote/http-client.js";
export type { Session, SessionInfo } from "./orchestrator/session.js";
export type { GenerateOptions } from "./orchestrator/generate-input.js";
export type { Speculation } from "./orchestrator/speculation.js";
export type {
  GenerationChunk,
  GenerationMetrics,
  GenerationResult,
  GenerationStream,
} from "./orchestrator/generation-stream.js";
export { serve, type KittyServer, type ServeOptions } from "./server/serve.js";
export { Jobs } from "./orchestrator/jobs/jobs.js";
export type { JobHandle } from "./orchestrator/jobs/job-handle.js";
export { LocalJobService, type LocalJobServiceOptions } from "./orchestrator/jobs/local-job-service.js";
export { jobsFolder } from "./orchestrator/jobs/jobs-folder.js";
export { findReportSources } from "./orchestrator/jobs/report-sources.js";
export { runSlurmTask, type SlurmTaskSignals } from "./orchestrator/jobs/run-slurm-task.js";
export { ClusterView, type OwnCluster } from "./orchestrator/cluster-view.js";
export type { OwnSubmission } from "./orchestrator/own-submissions.js";
export { previewSlurm, type SlurmPreview } from "./orchestrator/jobs/preview-slurm.js";
export { JOB_STATES, isTerminal, type JobState } from "./job/job-state.js";
export type { Job, JobError, JobFile, JobProgress, JobResult, JobSummary } from "./job/job.js";
export type { JobReport } from "./job/report-schemas.js";
export { MEASURING_KINDS } from "./job/reported-kinds.js";
export type { JobKind, JobSpec, JobSpecInput } from "./job/job-spec.js";
export type { JobEvent, KittyEvent } from "./job/event.js";
export type { EventFeed, EventLog, SubscribeOptions } from "./job/event-log.js";
export type { JobLogPage, JobPage, JobService, ListJobsOptions, SubmitOptions } from "./job/job-service.js";
export { loadConfig, resolveConfig } from "./config/load.js";
export { parseYaml } from "./config/parse-yaml.js";
export { PRESET_NAMES, type CacheInput, type Config, type ConfigInput } from "./config/schema.js";
export type { Runner, RunnerDescription, StartWorkerOptions } from "./runner/runner.js";
export type { ChatMessage, KvCacheMemory, ModelDescription, TokenLogprob } from "./bridge/messages.js";
export type { WorkerLog } from "./bridge/worker-bridge.js";
export { buildImage, type BuildImageOptions, type BuiltImage } from "./apptainer/build-image.js";
export { inspectImage, type ImageInspection } from "./apptainer/inspect-image.js";
export { createOverlay, type CreateOverlayOptions } from "./apptainer/create-overlay.js";
export { provisionOverlay, type ProvisionOverlayOptions } from "./apptainer/provision-overlay.js";
export { sealOverlay, type SealOverlayOptions } from "./apptainer/seal-overlay.js";
export { verifyOverlay, type VerifyOverlayOptions } from "./apptainer/verify-overlay.js";
export { overlayStatus, type OverlayStatus } from "./apptainer/overlay-status.js";
export { listInstances, type Instance, type InstanceState } from "./apptainer/list-instances.js";
export { readInstanceLog, type ReadLogOptions } from "./apptainer/instance-log.js";
export { stopInstances } from "./apptainer/stop-instances.js";
export type { InstanceRecord } from "./apptainer/instance-record.js";
export type { InstanceSettings } from "./apptainer/instance-settings.js";
export {
  clusterStatus,
  type ClusterStatus,
  type NodeStatus,
  type PartitionStatus,
  type Share,
  type SubmissionStatus,
} from "./runner/slurm-status.js";
export { startInstances, type StartInstancesOptions } from "./runner/start-instances.js";
export type { OverlayManifest } from "./apptainer/overlay-manifest.js";
export {
  CancelledError,
  ConfigError,
  JobFailedError,
  KittyError,
  NotFoundError,
  OverlayInUseError,
  TimeoutError,
  UnauthorizedError,
  UnsupportedError,
  WorkerExitedError,
  type KittyErrorOptions,
} from "./errors.js";
