/** A "newc" cpio archive, the form of an initramfs (Documentation/driver-api/early-userspace/buffer-format.rst in Linux). */

export interface InitramfsFile {
  readonly path: string;
  readonly content: Uint8Array;
  readonly executable?: boolean;
}

const DIRECTORY = 0o040755;
const PROGRAM = 0o100755;
const PLAIN = 0o100644;
const TRAILER = 'TRAILER!!!';

/** `folders` come first, for the kernel makes no parents. Paths without a slash in front. */
export function initramfs(folders: readonly string[], files: readonly InitramfsFile[]): Buffer {
  const nothing = new Uint8Array();
  const entries = [
    ...folders.map((path) => ({ path, mode: DIRECTORY, content: nothing })),
    ...files.map(({ path, content, executable }) => ({ path, mode: executable ? PROGRAM : PLAIN, content })),
    { path: TRAILER, mode: 0, content: nothing },
  ];
  return Buffer.concat(entries.flatMap(({ path, mode, content }, index) => entry(index + 1, path, mode, content)));
}

function entry(inode: number, path: string, mode: number, content: Uint8Array): Uint8Array[] {
  const name = Buffer.from(`${path}\0`);
  // inode, mode, uid, gid, links, mtime, size, device major and minor, rdev major and minor, length of the name, check (unused)
  const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length, 0];
  const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`);
  return [padded(Buffer.concat([header, name])), padded(content)];
}

/** Names and contents end on a multiple of 4, counted with the header before the name. */
function padded(bytes: Uint8Array): Uint8Array {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}
