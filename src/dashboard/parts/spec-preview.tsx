import { useRef } from "preact/hooks";
import type { SpecCheck } from "../state/use-checked-spec.js";
import { Card } from "./card.js";
import { CopyButton } from "./copy-button.js";
import { Notice } from "./notice.js";

interface SpecPreviewProps {
  check: SpecCheck;
  /** Whether the text is in the editor already. */
  isYaml: boolean;
  isBusy: boolean;
  problem: string | undefined;
}

/** Whether the server takes the spec, the spec as a file would have it, and the button that submits it. */
export function SpecPreview({ check, isYaml, isBusy, problem }: SpecPreviewProps) {
  const text = useRef<HTMLPreElement>(null);
  const { checked, error } = check;
  return (
    <Card
      title="What is submitted"
      aside={checked === undefined || isYaml ? null : <CopyButton text={checked.yaml} from={() => text.current} />}
    >
      {checked === undefined || isYaml ? null : (
        <pre ref={text} class="code-block" tabIndex={0} role="region" aria-label="Spec as YAML">
          {checked.yaml}
        </pre>
      )}
      <div aria-live="polite">
        {error === undefined ? null : <Notice kind="error">{error}</Notice>}
        {error === undefined && checked !== undefined ? (
          <Notice kind="good">The orchestrator takes this spec.</Notice>
        ) : null}
        {problem === undefined ? null : <Notice kind="error">{problem}</Notice>}
      </div>
      <button type="submit" class="primary" disabled={checked === undefined || check.isBusy || isBusy}>
        Submit job
      </button>
    </Card>
  );
}
