/** Under what figures were found. */
export function Conditions({ values }: { values: readonly (readonly [name: string, value: string])[] }) {
  return (
    <dl class="conditions">
      {values.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
