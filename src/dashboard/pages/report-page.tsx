import type { JobReport } from "../../server/wire/reports.js";
import { MOST_REPORTED_JOBS } from "../../server/wire/reports.js";
import { distinctNames } from "../model/report.js";
import { canReport, reportAddress } from "../model/reportable.js";
import { JobPicker } from "../parts/job-picker.js";
import { Empty, Loading, Notice } from "../parts/notice.js";
import { PageHead } from "../parts/page-head.js";
import { ComparisonView } from "../parts/report/comparison-view.js";
import { LatencyView } from "../parts/report/latency-view.js";
import { PublishedView } from "../parts/report/published-view.js";
import { ReportDownloads } from "../parts/report/report-downloads.js";
import { ReportScope } from "../parts/report/report-scope.js";
import { SensitivityView } from "../parts/report/sensitivity-view.js";
import { SimulationView } from "../parts/report/simulation-view.js";
import { place } from "../router.js";
import { useReport } from "../state/use-report.js";

/** One report about jobs; which ones is in the address. */
export function ReportPage() {
  const ids = readIds(place.value.query);
  const { data, error } = useReport(ids);
  return (
    <>
      <PageHead over={<a href="/jobs">Jobs</a>} title="Report">
        {data === undefined ? null : <ReportDownloads report={data} />}
      </PageHead>
      <JobPicker ids={ids} most={MOST_REPORTED_JOBS} toAddress={reportAddress} isOffered={canReport} />
      {error === undefined ? null : <Notice kind="error">{error}</Notice>}
      {ids.length === 0 ? <NothingChosen /> : null}
      {ids.length > 0 && data === undefined && error === undefined ? <Loading what="the report" /> : null}
      {data === undefined ? null : <ReportView report={data} />}
    </>
  );
}

function NothingChosen() {
  return (
    <div class="card">
      <Empty title="What does 2-bit cost, and what does it save?">
        <p>
          Put in jobs that evaluate, simulate or measure latency, or sweeps of them, and see accuracy, bits, memory and
          speed side by side. <a href="/jobs/new">Submit one</a> if there is none yet.
        </p>
      </Empty>
    </div>
  );
}

function ReportView({ report }: { report: JobReport }) {
  const { evaluations, latencies, simulations, sensitivities, published, date } = report.document;
  const models = distinctNames(
    evaluations.map(({ run }) => run),
    ["model", "dtype", "device", "text", "kittyKv", "torch"],
  );
  const machines = distinctNames(
    latencies.map(({ environment }) => environment),
    ["model", "hardware", "dtype", "date"],
  );
  const caches = distinctNames(
    sensitivities.map((document) => ({ ...document, ...(document["cache"] as object) })),
    ["preset", "model", "length", "dtype"],
  );
  return (
    <>
      <ReportScope report={report} />
      {evaluations.map((comparison, index) => (
        <ComparisonView key={index} name={models[index] ?? ""} comparison={comparison} />
      ))}
      {latencies.map((latency, index) => (
        <LatencyView key={index} name={machines[index] ?? ""} latency={latency} />
      ))}
      {simulations.length === 0 ? null : <SimulationView simulations={simulations} />}
      {sensitivities.map((document, index) => (
        <SensitivityView key={index} name={caches[index] ?? ""} document={document} />
      ))}
      <PublishedView published={published} />
      <p class="muted report-date">
        Written {date} about {report.jobs.length === 1 ? "one job" : `${String(report.jobs.length)} jobs`}, as{" "}
        <code>kitty-kv report</code> writes it.
      </p>
    </>
  );
}

function readIds(query: string): string[] {
  const ids = (new URLSearchParams(query).get("jobs") ?? "").split(",").filter((id) => id !== "");
  return [...new Set(ids)];
}
