import { memo } from "preact/compat";
import { parseAnsi } from "../model/ansi.js";

const LONGEST = 5000;

interface LogLineProps {
  text: string;
  top: number;
  mark: "found" | "current" | undefined;
}

/** One line with its colours; what it holds is shown and never interpreted. */
export const LogLine = memo(function LogLine({ text, top, mark }: LogLineProps) {
  const cut = text.length - LONGEST;
  return (
    <div
      class={mark === undefined ? "log-line" : `log-line log-${mark}`}
      style={{ transform: `translateY(${String(top)}px)` }}
    >
      {parseAnsi(cut > 0 ? text.slice(0, LONGEST) : text).map((span, index) => (
        <span key={index} class={span.classes.join(" ")} style={colors(span.color, span.background)}>
          {span.text}
        </span>
      ))}
      {cut > 0 ? <span class="ansi-dim"> … {cut} characters more</span> : null}
    </div>
  );
});

function colors(color: string | undefined, background: string | undefined): Record<string, string> {
  return { ...(color === undefined ? {} : { color }), ...(background === undefined ? {} : { background }) };
}
