import type { ComponentChildren } from "preact";

interface PageHeadProps {
  title: ComponentChildren;
  /** Small, above the title. */
  over?: ComponentChildren;
  /** Buttons at the end of the line. */
  children?: ComponentChildren;
}

/** A page's title and what can be done on it. */
export function PageHead({ title, over, children }: PageHeadProps) {
  return (
    <div class="page-head">
      <div class="page-title">
        {over === undefined ? null : <div class="over">{over}</div>}
        <h1>{title}</h1>
      </div>
      {children === undefined ? null : <div class="actions">{children}</div>}
    </div>
  );
}
