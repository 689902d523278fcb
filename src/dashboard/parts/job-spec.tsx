import { useCallback, useRef } from "preact/hooks";
import { ask } from "../api/client.js";
import { usePolled } from "../state/use-polled.js";
import { Card } from "./card.js";
import { CopyButton } from "./copy-button.js";
import { Loading, Notice } from "./notice.js";

/** A job's spec as YAML, as `kitty-kv job submit` takes it. */
export function JobSpecView({ id }: { id: string }) {
  const text = useRef<HTMLPreElement>(null);
  const { data, error } = usePolled(
    useCallback(
      async (signal: AbortSignal) => (await ask(`/api/jobs/${encodeURIComponent(id)}/spec`, { signal })).text(),
      [id],
    ),
  );
  return (
    <Card title="Spec" aside={data === undefined ? null : <CopyButton text={data} from={() => text.current} />}>
      {error === undefined ? null : <Notice kind="error">{error}</Notice>}
      {data === undefined ? (
        <Loading what="the spec" />
      ) : (
        <pre ref={text} class="code-block" tabIndex={0} role="region" aria-label="Spec as YAML">
          {data}
        </pre>
      )}
    </Card>
  );
}
