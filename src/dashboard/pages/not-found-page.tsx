import { Empty } from "../parts/notice.js";
import { PageHead } from "../parts/page-head.js";

export function NotFoundPage() {
  return (
    <>
      <PageHead title="Not found" />
      <Empty title="There is no such page.">
        <p>
          The address may be of another version. <a href="/">Go to the overview</a>.
        </p>
      </Empty>
    </>
  );
}
