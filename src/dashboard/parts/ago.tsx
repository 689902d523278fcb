import { formatAgo, formatExact } from "../model/format.js";
import { now } from "../state/clock.js";

/** A time as people say it, and exactly on hover. */
export function Ago({ time }: { time: string }) {
  return (
    <time dateTime={time} title={formatExact(time)}>
      {formatAgo(Date.parse(time), now.value)}
    </time>
  );
}
