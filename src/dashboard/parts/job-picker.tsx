import { readQuery, select } from "../model/job-query.js";
import { navigate } from "../router.js";
import { watchTable } from "../state/live.js";
import { Icon } from "./icon.js";

const OFFERED = 200;

/** Which jobs are compared: those that are, each to be taken out, and others to be put in. */
export function JobPicker({ ids, most }: { ids: readonly string[]; most: number }) {
  const table = watchTable();
  const show = (next: readonly string[]): void => {
    navigate(next.length === 0 ? "/compare" : `/compare?ids=${next.join(",")}`, { isReplaced: true });
  };
  const others = select(table.all(), readQuery(new URLSearchParams("state=succeeded")), 0)
    .filter(({ id }) => !ids.includes(id))
    .slice(0, OFFERED);
  return (
    <div class="picker">
      {ids.map((id) => (
        <span key={id} class="picked">
          {table.get(id)?.name ?? id}
          <button
            type="button"
            class="plain"
            aria-label={`Take out ${table.get(id)?.name ?? id}`}
            onClick={() => {
              show(ids.filter((other) => other !== id));
            }}
          >
            <Icon name="close" />
          </button>
        </span>
      ))}
      {ids.length >= most ? null : (
        <select
          aria-label="Put a job in"
          class="fit"
          value=""
          onChange={({ currentTarget }) => {
            show([...ids, currentTarget.value]);
          }}
        >
          <option value="">Put a job in …</option>
          {others.map(({ id, name, kind }) => (
            <option key={id} value={id}>
              {name ?? id} ({kind})
            </option>
          ))}
        </select>
      )}
    </div>
  );
}
