/** A .tar.gz as it grows: POSIX ustar (IEEE Std 1003.1, pax, "ustar Interchange Format"), which every tar reads. */
import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';

export interface ArchiveFile {
  /** With "/" between folders, no longer than 255 bytes. */
  readonly name: string;
  readonly content: string | Buffer;
}

const BLOCK = 512;
/** Of the names of a header. */
const NAME_BYTES = 100;
const PREFIX_BYTES = 155;

/** Writes what comes; readable by its owner only. Rejects when the file is there already, or cannot be written. */
export async function writeArchive(path: string, files: AsyncIterable<ArchiveFile>, now: Date): Promise<void> {
  await pipeline(
    Readable.from(blocks(files, now)),
    createGzip(),
    createWriteStream(path, { flags: 'wx', mode: 0o600 }),
  );
}

async function* blocks(files: AsyncIterable<ArchiveFile>, now: Date): AsyncGenerator<Buffer> {
  for await (const { name, content } of files) {
    const bytes = Buffer.from(content);
    yield header(name, bytes.length, Math.floor(now.getTime() / 1000));
    yield bytes;
    yield Buffer.alloc((BLOCK - (bytes.length % BLOCK)) % BLOCK);
  }
  yield Buffer.alloc(2 * BLOCK);
}

function header(name: string, size: number, seconds: number): Buffer {
  const [prefix, rest] = split(name);
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, length: number) =>
    block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'ascii');
  block.write(rest, 0);
  octal(0o600, 100, 8);
  octal(0, 108, 8); // uid
  octal(0, 116, 8); // gid
  octal(size, 124, 12);
  octal(seconds, 136, 12);
  block.write(' '.repeat(8), 148); // the checksum counts as blanks
  block.write('0', 156); // a file
  block.write('ustar\0', 257);
  block.write('00', 263);
  block.write(prefix, 345);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'ascii');
  return block;
}

/** A long name stands in two fields, divided at a "/". */
function split(name: string): readonly [prefix: string, rest: string] {
  if (Buffer.byteLength(name) <= NAME_BYTES) return ['', name];
  for (let at = name.indexOf('/'); at >= 0; at = name.indexOf('/', at + 1)) {
    const [prefix, rest] = [name.slice(0, at), name.slice(at + 1)];
    if (Buffer.byteLength(prefix) <= PREFIX_BYTES && Buffer.byteLength(rest) <= NAME_BYTES) return [prefix, rest];
  }
  throw new RangeError(`a file's name in an archive is too long: ${name}`);
}
