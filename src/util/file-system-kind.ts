import { statfsSync } from "node:fs";
import { dirname } from "node:path";

// statfs(2) f_type.
const LOCAL: Readonly<Record<number, string>> = {
  0xef53: "ext4",
  0x58465342: "xfs",
  0x9123683e: "btrfs",
  0x2fc12fc1: "zfs",
  0x01021994: "tmpfs",
  0x794c7630: "overlay",
  0x1a: "apfs",
};
const NETWORK: Readonly<Record<number, string>> = {
  0x6969: "nfs",
  0xff534d42: "cifs",
  0xfe534d42: "smb2",
  0x0bd00bd0: "lustre",
  0x47504653: "gpfs",
  0x19830326: "beegfs",
  0x00c36400: "ceph",
  0x5346414f: "afs",
  0x20030528: "orangefs",
  0xaad7aaea: "panfs",
  0x01021997: "9p",
  // Of a thousand FUSE file systems most are remote (sshfs, s3fs, gcsfuse).
  0x65735546: "fuse",
};

export interface FileSystem {
  kind: string;
  /** Whether other machines may use it at the same time. */
  isNetwork: boolean;
  freeBytes: number;
}

/** The file system that a path is on, or that it will be made on. */
export function fileSystemOf(path: string): FileSystem {
  try {
    const { type, bavail, bsize } = statfsSync(path);
    return { ...fileSystemKind(type), freeBytes: bavail * bsize };
  } catch (error) {
    // What does not exist yet will be made on its parent's file system.
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || dirname(path) === path) throw error;
    return fileSystemOf(dirname(path));
  }
}

/** What statfs's `f_type` means; a number that is not known here is shown as one, and is no network's. */
export function fileSystemKind(type: number): Omit<FileSystem, "freeBytes"> {
  const network = NETWORK[type];
  if (network !== undefined) return { kind: network, isNetwork: true };
  return { kind: LOCAL[type] ?? `file system 0x${type.toString(16)}`, isNetwork: false };
}
