import { Empty } from "../parts/notice.js";

export function NotFoundPage() {
  return (
    <Empty title="There is no such page.">
      <p>
        The address may be of another version. <a href="/">Go to the overview</a>.
      </p>
    </Empty>
  );
}
