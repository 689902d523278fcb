interface LogSearchProps {
  text: string;
  found: number;
  current: number;
  onText: (text: string) => void;
  onCurrent: (index: number) => void;
}

/** Finds lines; Enter goes to the next one, Shift+Enter back. */
export function LogSearch({ text, found, current, onText, onCurrent }: LogSearchProps) {
  const step = (by: number): void => {
    if (found > 0) onCurrent((current + by + found) % found);
  };
  return (
    <div class="log-search">
      <input
        type="search"
        placeholder="Search the log"
        aria-label="Search the log"
        value={text}
        onInput={(event) => {
          onCurrent(0);
          onText(event.currentTarget.value);
        }}
        onKeyDown={(event) => {
          if (event.key !== "Enter") return;
          event.preventDefault();
          step(event.shiftKey ? -1 : 1);
        }}
      />
      {text === "" ? null : (
        <span class="muted" role="status">
          {found === 0 ? "No line" : `${String(current + 1)} of ${String(found)}`}
        </span>
      )}
    </div>
  );
}
