import { ask, messageOf } from "../api/client.js";
import { download } from "../api/download.js";
import { say } from "./toasts.js";

/** Downloads a file of a job's folder; a plain link could not show the token. */
export async function fetchFile(job: string, name: string): Promise<void> {
  try {
    const response = await ask(`/api/jobs/${encodeURIComponent(job)}/files/${encodeURIComponent(name)}`);
    download(await response.blob(), name);
  } catch (error) {
    say(messageOf(error), { isError: true });
  }
}
