export interface StackPart {
  /** A colour of the theme's: good, live, wait or bad. */
  kind: "good" | "live" | "wait" | "bad";
  count: number;
  text: string;
}

/** Of how many things how many are what; the numbers are its name. */
export function StackBar({ parts }: { parts: readonly StackPart[] }) {
  const shown = parts.filter(({ count }) => count > 0);
  const label = shown.map(({ count, text }) => `${String(count)} ${text}`).join(", ");
  return (
    <span class="stack" role="img" aria-label={label} title={label}>
      {shown.map(({ kind, count, text }) => (
        <span key={text} class={`stack-part stack-${kind}`} style={{ flexGrow: count }} />
      ))}
    </span>
  );
}
