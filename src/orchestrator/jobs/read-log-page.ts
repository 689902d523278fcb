import { ConfigError } from "../../errors.js";
import type { JobLogPage } from "../../job/job-service.js";
import { readTextPage } from "../../util/read-text-page.js";
import { LOG_FILE, type JobFolder } from "./job-folder.js";

/**
 * Part of a job's log, cut between characters.
 * @throws ConfigError for an offset that is no whole number >= 0
 */
export async function readLogPage(
  folder: JobFolder,
  hasEnded: boolean,
  { offset = 0, limitBytes }: { offset?: number; limitBytes?: number },
): Promise<JobLogPage> {
  if (!Number.isSafeInteger(offset) || offset < 0) {
    throw new ConfigError(`Cannot read the log: offset must be a whole number >= 0, got ${String(offset)}`);
  }
  const { isLast, ...page } = await readTextPage(folder.file(LOG_FILE), { offset, limitBytes });
  return { ...page, isEnd: hasEnded && isLast };
}
