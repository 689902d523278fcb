import type { ComponentChild } from "preact";
import { useRef } from "preact/hooks";
import { useVirtual } from "../state/use-virtual.js";

interface VirtualRowsProps<T> {
  items: readonly T[];
  rowHeight: number;
  keyOf: (item: T) => string;
  renderRow: (item: T) => ComponentChild;
  label: string;
  /** A row group that stays above the rows. */
  head: ComponentChild;
  class: string;
}

/** A long table of rows of one height, of which only those in sight exist. */
export function VirtualRows<T>(props: VirtualRowsProps<T>) {
  const { items, rowHeight, keyOf, renderRow, label, head } = props;
  const holder = useRef<HTMLDivElement>(null);
  const { first, end } = useVirtual(holder, rowHeight, items.length);
  return (
    <div
      ref={holder}
      class={`virtual ${props.class}`}
      role="table"
      aria-label={label}
      aria-rowcount={items.length + 1}
      tabIndex={0}
    >
      {head}
      <div role="rowgroup" class="virtual-space" style={{ height: `${String(items.length * rowHeight)}px` }}>
        {items.slice(first, end).map((item, index) => (
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
            {renderRow(item)}
          </div>
        ))}
      </div>
    </div>
  );
}
