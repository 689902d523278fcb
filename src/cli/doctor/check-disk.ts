import { fileSystemOf } from "../../util/file-system-kind.js";
import { stateFolder } from "../../util/state-folder.js";
import { failed, info, ok, type Check } from "./check.js";

const NEEDED_BYTES = 2 ** 30;

/** Where the package stands and where its state goes. */
export function checkDisk(root: string): Check[] {
  const home = stateFolder();
  const rootDisk = fileSystemOf(root);
  const homeDisk = fileSystemOf(home);
  const space = `${toGiB(rootDisk.freeBytes)} GiB free on ${rootDisk.kind}, ${root}`;
  return [
    rootDisk.freeBytes >= NEEDED_BYTES
      ? ok("disk", space)
      : failed("disk", space, `free some: at least ${toGiB(NEEDED_BYTES)} GiB are needed`),
    info("state", `${toGiB(homeDisk.freeBytes)} GiB free on ${homeDisk.kind}, ${home}`),
  ];
}

function toGiB(bytes: number): string {
  return (bytes / 2 ** 30).toFixed(1);
}
