/** A stream of bytes as lines, holding never more than one line. */

/** Longest line, bytes: ten times the largest object etcd takes by default (1.5 MiB). */
export const LONGEST_LINE = 16 * 1024 * 1024;

/** Thrown when a line does not end within the limit: the stream can only be given up. */
export class LineTooLong extends Error {
  constructor(limit: number) {
    super(`a line of more than ${limit} bytes`);
  }
}

export class LineSplitter {
  readonly #limit: number;
  #parts: Buffer[] = [];
  #bytes = 0;

  constructor(limit: number = LONGEST_LINE) {
    this.#limit = limit;
  }

  /** The lines that the chunk completes, without their ends; empty ones are left out. */
  push(chunk: Buffer): string[] {
    const lines: string[] = [];
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      this.#keep(chunk.subarray(start, end));
      start = end + 1;
      const line = this.#take();
      if (line !== '') lines.push(line);
    }
    if (start < chunk.length) this.#keep(chunk.subarray(start));
    return lines;
  }

  /** True while the beginning of a line waits for its end. */
  get isInLine(): boolean {
    return this.#bytes > 0;
  }

  #keep(part: Buffer): void {
    this.#bytes += part.length;
    if (this.#bytes > this.#limit) throw new LineTooLong(this.#limit);
    if (part.length > 0) this.#parts.push(part);
  }

  #take(): string {
    const line = this.#parts.length === 1 ? (this.#parts[0] as Buffer) : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#bytes = 0;
    return line.toString('utf8').trimEnd();
  }
}
