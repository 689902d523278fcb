import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { stateFolder } from "../../util/state-folder.js";
import { failed, info, ok, type Check } from "./check.js";

const NEEDED_BYTES = 2 ** 30;

// statfs(2) f_type; what is not here is shown as a number.
const KINDS: Readonly<Record<number, string>> = {
  0xef53: "ext4",
  0x58465342: "xfs",
  0x9123683e: "btrfs",
  0x2fc12fc1: "zfs",
  0x01021994: "tmpfs",
  0x794c7630: "overlay",
  0x6969: "nfs",
  0xff534d42: "cifs",
  0x0bd00bd0: "lustre",
  0x47504653: "gpfs",
  0x19830326: "beegfs",
  0x00c36400: "ceph",
  0x65735546: "fuse",
  0x1a: "apfs",
};

/** Where the package stands and where its state goes. */
export async function checkDisk(root: string): Promise<Check[]> {
  const home = stateFolder();
  const [rootDisk, homeDisk] = await Promise.all([describeDisk(root), describeDisk(home)]);
  const space = `${toGiB(rootDisk.freeBytes)} GiB free on ${rootDisk.kind}, ${root}`;
  return [
    rootDisk.freeBytes >= NEEDED_BYTES
      ? ok("disk", space)
      : failed("disk", space, `free some: at least ${toGiB(NEEDED_BYTES)} GiB are needed`),
    info("state", `${toGiB(homeDisk.freeBytes)} GiB free on ${homeDisk.kind}, ${home}`),
  ];
}

async function describeDisk(path: string): Promise<{ kind: string; freeBytes: number }> {
  try {
    const { type, bavail, bsize } = await statfs(path);
    return { kind: KINDS[type] ?? `file system 0x${type.toString(16)}`, freeBytes: bavail * bsize };
  } catch (error) {
    // What does not exist yet will be made on its parent's file system.
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || dirname(path) === path) throw error;
    return describeDisk(dirname(path));
  }
}

function toGiB(bytes: number): string {
  return (bytes / 2 ** 30).toFixed(1);
}
