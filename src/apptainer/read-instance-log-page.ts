import { existsSync } from "node:fs";
import { readTextPage, type TextPage } from "../util/read-text-page.js";
import { instancePlace, readRecord } from "./instance-record.js";

/** Part of an instance's log. */
export interface InstanceLogPage extends Omit<TextPage, "isLast"> {
  /** Whether the instance is gone, and nothing follows. */
  isEnd: boolean;
}

/** @throws NotFoundError `instance_not_found`, ConfigError `invalid_instance_name` */
export async function readInstanceLogPage(
  name: string,
  options: { offset: number; limitBytes?: number | undefined },
): Promise<InstanceLogPage> {
  await readRecord(name);
  const { log, folder } = instancePlace(name);
  const { isLast, ...page } = await readTextPage(log, options);
  return { ...page, isEnd: isLast && !existsSync(folder) };
}
