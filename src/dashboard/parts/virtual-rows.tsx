import type { ComponentChild } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

interface VirtualRowsProps<T> {
  items: readonly T[];
  rowHeight: number;
  keyOf: (item: T) => string;
  renderRow: (item: T, index: number) => ComponentChild;
  label: string;
  /** Above the rows, inside what scrolls sideways. */
  head?: ComponentChild;
  class?: string;
}

const BEYOND = 8;

/** A long table of rows of one height, of which only those in sight exist. */
export function VirtualRows<T>(props: VirtualRowsProps<T>) {
  const { items, rowHeight, keyOf, renderRow, label, head } = props;
  const holder = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ first: 0, count: 40 });
  useEffect(() => {
    const element = holder.current;
    if (element === null) return undefined;
    const look = (): void => {
      const first = Math.max(0, Math.floor(element.scrollTop / rowHeight) - BEYOND);
      const count = Math.ceil(element.clientHeight / rowHeight) + 2 * BEYOND;
      setView((before) => (before.first === first && before.count === count ? before : { first, count }));
    };
    look();
    element.addEventListener("scroll", look, { passive: true });
    const observer = new ResizeObserver(look);
    observer.observe(element);
    return () => {
      element.removeEventListener("scroll", look);
      observer.disconnect();
    };
  }, [rowHeight]);
  const first = Math.min(view.first, Math.max(0, items.length - view.count));
  const shown = items.slice(first, first + view.count);
  return (
    <div
      ref={holder}
      class={`virtual ${props.class ?? ""}`}
      role="table"
      aria-label={label}
      aria-rowcount={items.length + 1}
      tabIndex={0}
    >
      {head}
      <div role="rowgroup" class="virtual-space" style={{ height: `${String(items.length * rowHeight)}px` }}>
        {shown.map((item, index) => (
          <div
            key={keyOf(item)}
            role="row"
            aria-rowindex={first + index + 2}
            class="virtual-row"
            style={{
              transform: `translateY(${String((first + index) * rowHeight)}px)`,
              height: `${String(rowHeight)}px`,
            }}
          >
            {renderRow(item, first + index)}
          </div>
        ))}
      </div>
    </div>
  );
}
