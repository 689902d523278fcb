import { mkdirSync } from "node:fs";
import { basename } from "node:path";
import { checkedPath } from "../apptainer/checked-path.js";
import { INSIDE } from "../apptainer/instance-arguments.js";

/** How a program names files of this machine that it is to read or write. */
export interface TaskFiles {
  reads(path: string): string;
  /** A folder; it is made where there is none. */
  writes(folder: string): string;
}

/** Of a program that runs on this machine itself. */
export const HOST_FILES: TaskFiles = { reads: (path) => path, writes: (folder) => folder };

/** Of a program in a container, which sees nothing but what is shown to it. */
export class ShownFiles implements TaskFiles {
  readonly #hostByInside = new Map<string, string>();
  /** As Apptainer's `--bind` takes them. */
  readonly binds: string[] = [];

  reads(path: string): string {
    return this.#show(path, ":ro");
  }

  writes(folder: string): string {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return this.#show(folder, "");
  }

  /**
   * What a program said, with this machine's names for what it was shown.
   * @param write as the text writes a name
   */
  toHost(text: string, write: (path: string) => string = (path) => path): string {
    const all = [...this.#hostByInside];
    return all.reduce((said, [inside, host]) => said.replaceAll(write(inside), () => write(host)), text);
  }

  #show(path: string, mode: "" | ":ro"): string {
    const host = checkedPath(path, "a file that a container sees");
    // Its own name, as the ending says what a text is packed with, and a job's folder is named after the job.
    const inside = `${INSIDE.files}/${String(this.binds.length)}/${basename(host)}`;
    this.binds.push(`${host}:${inside}${mode}`);
    this.#hostByInside.set(inside, host);
    return inside;
  }
}
