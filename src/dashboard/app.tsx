import type { ComponentChild } from "preact";
import { useEffect } from "preact/hooks";
import { token } from "./api/token.js";
import { ClusterPage } from "./pages/cluster-page.js";
import { ComparePage } from "./pages/compare-page.js";
import { InstancesPage } from "./pages/instances-page.js";
import { JobPage } from "./pages/job-page.js";
import { JobsPage } from "./pages/jobs-page.js";
import { NewJobPage } from "./pages/new-job-page.js";
import { NotFoundPage } from "./pages/not-found-page.js";
import { OverviewPage } from "./pages/overview-page.js";
import { PlaygroundPage } from "./pages/playground-page.js";
import { ReportPage } from "./pages/report-page.js";
import { SignInPage } from "./pages/sign-in-page.js";
import { SystemPage } from "./pages/system-page.js";
import { Shell } from "./parts/shell.js";
import { Toasts } from "./parts/toasts.js";
import { place } from "./router.js";
import { start, stop } from "./state/live.js";

const PAGES: Readonly<Record<string, () => ComponentChild>> = {
  "/": () => <OverviewPage />,
  "/jobs": () => <JobsPage />,
  "/jobs/new": () => <NewJobPage />,
  "/compare": () => <ComparePage />,
  "/report": () => <ReportPage />,
  "/cluster": () => <ClusterPage />,
  "/instances": () => <InstancesPage />,
  "/playground": () => <PlaygroundPage />,
  "/system": () => <SystemPage />,
};

/** The whole dashboard: the question for a token, or the page that the address names. */
export function App() {
  const isKnown = token.value !== undefined;
  useEffect(() => {
    if (isKnown) start();
    return stop;
  }, [isKnown, token.value]);
  if (!isKnown) return <SignInPage />;
  return (
    <>
      <Shell>{page(place.value.path)}</Shell>
      <Toasts />
    </>
  );
}

function page(path: string): ComponentChild {
  const clean = path.length > 1 ? path.replace(/\/$/, "") : path;
  const known = PAGES[clean];
  if (known !== undefined) return known();
  const job = /^\/jobs\/([^/]+)$/.exec(clean)?.[1];
  return job === undefined ? <NotFoundPage /> : <JobPage key={job} id={decode(job)} />;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
