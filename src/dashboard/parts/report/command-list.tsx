import { useRef } from "preact/hooks";
import { CopyButton } from "../copy-button.js";

/** Commands that repeat what is shown. */
export function CommandList({ of, commands }: { of: string; commands: readonly string[] }) {
  const block = useRef<HTMLPreElement>(null);
  if (commands.length === 0) return null;
  const text = commands.join("\n");
  return (
    <details class="commands">
      <summary>{commands.length === 1 ? "The command" : `${String(commands.length)} commands`} to repeat it</summary>
      <div class="command-block">
        <pre ref={block} class="code-block wrapped" tabIndex={0} role="region" aria-label={`Commands, ${of}`}>
          {text}
        </pre>
        <CopyButton text={text} from={() => block.current} />
      </div>
    </details>
  );
}
