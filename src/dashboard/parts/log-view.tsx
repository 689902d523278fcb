import type { RefObject } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { stripAnsi } from "../model/ansi.js";
import { formatBytes, formatNumber } from "../model/format.js";
import type { ReadLog } from "../api/follow-log.js";
import { useLog, type Log } from "../state/use-log.js";
import { useVirtual } from "../state/use-virtual.js";
import { Icon } from "./icon.js";
import { LogLine } from "./log-line.js";
import { LogSearch } from "./log-search.js";
import { Loading, Notice } from "./notice.js";

const LINE_HEIGHT = 20;
/** So near to the end counts as the end. */
const NEAR = 24;

interface LogViewProps {
  read: ReadLog;
  /** Another one begins anew. */
  logKey: string;
}

/** A log as it is written: it follows the end as long as the end is in sight. */
export function LogView({ read, logKey }: LogViewProps) {
  const log = useLog(read, logKey);
  const holder = useRef<HTMLDivElement>(null);
  const [isFollowing, setFollowing] = useState(true);
  const [search, setSearch] = useState("");
  const [current, setCurrent] = useState(0);
  const { lines, rest } = log.buffer;
  const total = lines.length + (rest === "" ? 0 : 1);
  const found = useMemo(() => findLines(lines, search), [search, log.version]);
  useLayoutEffect(() => {
    if (isFollowing) toEnd(holder.current);
  }, [log.version, isFollowing]);
  useEffect(() => {
    const line = found[current];
    if (line === undefined || holder.current === null) return;
    setFollowing(false);
    holder.current.scrollTop = line * LINE_HEIGHT - holder.current.clientHeight / 2;
  }, [search, current]);
  const earlier = async (): Promise<void> => {
    const before = lines.length;
    setFollowing(false);
    await log.readEarlier();
    if (holder.current !== null) holder.current.scrollTop += (lines.length - before) * LINE_HEIGHT;
  };
  return (
    <div class="log">
      <div class="log-bar">
        <LogSearch text={search} found={found.length} current={current} onText={setSearch} onCurrent={setCurrent} />
        <span class="muted">
          {formatNumber(total)} lines, {formatBytes(log.sizeBytes)}
          {log.isEnd ? "" : " so far"}
        </span>
      </div>
      {log.error === undefined ? null : <Notice kind="error">{log.error}</Notice>}
      {log.buffer.start > 0 ? (
        <div class="log-earlier">
          The first {formatBytes(log.buffer.start)} are not shown.{" "}
          <button type="button" class="small" onClick={() => void earlier()}>
            Show earlier lines
          </button>
        </div>
      ) : null}
      <LogLines log={log} holder={holder} found={found} current={current} onFollow={setFollowing} />
      {isFollowing ? null : (
        <button
          type="button"
          class="log-follow small"
          onClick={() => {
            setFollowing(true);
          }}
        >
          <Icon name="down" />
          {log.isEnd ? "To the end" : "Follow"}
        </button>
      )}
    </div>
  );
}

interface LogLinesProps {
  log: Log;
  holder: RefObject<HTMLDivElement | null>;
  found: readonly number[];
  current: number;
  onFollow: (isFollowing: boolean) => void;
}

/** The lines in sight. */
function LogLines({ log, holder, found, current, onFollow }: LogLinesProps) {
  const { lines, rest } = log.buffer;
  const total = lines.length + (rest === "" ? 0 : 1);
  const { first, end } = useVirtual(holder, LINE_HEIGHT, total);
  const matches = useMemo(() => new Set(found), [found]);
  const shown = Array.from({ length: Math.max(0, end - first) }, (_, index) => first + index);
  return (
    <div
      ref={holder}
      class="log-lines code"
      role="region"
      aria-label="Lines of the log"
      tabIndex={0}
      onScroll={({ currentTarget }) => {
        onFollow(currentTarget.scrollHeight - currentTarget.scrollTop - currentTarget.clientHeight < NEAR);
      }}
    >
      {log.isLoaded ? null : <Loading what="the log" />}
      {log.isLoaded && total === 0 ? <p class="log-empty muted">Nothing is written yet.</p> : null}
      <div class="log-space" style={{ height: `${String(total * LINE_HEIGHT)}px` }}>
        {shown.map((index) => (
          <LogLine
            key={index}
            text={lines[index] ?? rest}
            top={index * LINE_HEIGHT}
            mark={index === found[current] ? "current" : matches.has(index) ? "found" : undefined}
          />
        ))}
      </div>
    </div>
  );
}

function findLines(lines: readonly string[], search: string): number[] {
  const wanted = search.toLowerCase();
  if (wanted === "") return [];
  return lines.flatMap((line, index) => (stripAnsi(line).toLowerCase().includes(wanted) ? [index] : []));
}

function toEnd(element: HTMLElement | null): void {
  if (element !== null) element.scrollTop = element.scrollHeight;
}
