interface BarListProps {
  label: string;
  items: readonly { name: string; value: number | null; text: string }[];
}

/** Values side by side as bars with their numbers, which need no other description. */
export function BarList({ label, items }: BarListProps) {
  const largest = Math.max(...items.map(({ value }) => Math.abs(value ?? 0)), Number.MIN_VALUE);
  return (
    <ul class="bars" aria-label={label}>
      {items.map(({ name, value, text }, index) => (
        <li key={index}>
          <span class="bar-name" title={name}>
            {name}
          </span>
          <span class="bar-track">
            <span class="bar" style={{ width: `${String((Math.abs(value ?? 0) / largest) * 100)}%` }} />
          </span>
          <span class="bar-value">{text}</span>
        </li>
      ))}
    </ul>
  );
}
