import { sweepsOf, type SweepProgress } from "../../model/cluster.js";
import { formatNumber } from "../../model/format.js";
import { watchTable } from "../../state/live.js";
import { Card } from "../card.js";
import { StackBar, type StackPart } from "../stack-bar.js";

/** Sweeps that go on, whose children are tasks of arrays. */
export function SweepsInProgress() {
  const sweeps = sweepsOf(watchTable().all());
  if (sweeps.length === 0) return null;
  return (
    <Card title="Sweeps" isFlush>
      <ul class="submissions">
        {sweeps.map((progress) => (
          <Sweep key={progress.sweep.id} progress={progress} />
        ))}
      </ul>
    </Card>
  );
}

function Sweep({ progress: { sweep, counts, total } }: { progress: SweepProgress }) {
  const parts: StackPart[] = [
    { kind: "good", count: counts.succeeded, text: "succeeded" },
    { kind: "bad", count: counts.failed + counts.timed_out + counts.cancelled, text: "did not succeed" },
    { kind: "live", count: counts.running, text: "running" },
    // One that starts is in Slurm's queue.
    { kind: "wait", count: counts.queued + counts.starting, text: "waiting" },
  ];
  return (
    <li>
      <div class="submission-head">
        <a class="submission-name" href={`/jobs/${sweep.id}`}>
          {sweep.name ?? sweep.id}
        </a>
        <span class="submission-count">{formatNumber(total)} children</span>
      </div>
      <StackBar parts={parts} />
      <div class="submission-words">
        {parts
          .filter(({ count }) => count > 0)
          .map(({ kind, count, text }) => (
            <span key={text} class={kind === "bad" ? "verdict-worse" : ""}>
              {formatNumber(count)} {text}
            </span>
          ))}
      </div>
    </li>
  );
}
