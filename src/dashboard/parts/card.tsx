import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";

interface CardProps {
  title: ComponentChildren;
  /** At the end of the title's line. */
  aside?: ComponentChildren;
  /** Lets its content reach its edges, as tables do. */
  isFlush?: boolean;
  children: ComponentChildren;
}

/** A part of a page with a title of its own. */
export function Card({ title, aside, isFlush = false, children }: CardProps) {
  const id = useId();
  return (
    <section class={isFlush ? "card card-flush" : "card"} aria-labelledby={id}>
      <div class="card-head">
        <h2 id={id}>{title}</h2>
        {aside}
      </div>
      {children}
    </section>
  );
}

interface FigureProps {
  label: string;
  value: ComponentChildren;
  unit?: string | undefined;
  hint?: ComponentChildren;
}

/** One number that matters. */
export function Figure({ label, value, unit, hint }: FigureProps) {
  return (
    <div class="figure">
      <div class="figure-label">{label}</div>
      <div class="figure-value">
        {value}
        {unit === undefined ? null : <span class="unit">{unit}</span>}
      </div>
      {hint === undefined ? null : <div class="figure-hint">{hint}</div>}
    </div>
  );
}
