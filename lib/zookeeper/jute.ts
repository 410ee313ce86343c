/**
 * Jute, ZooKeeper's encoding: big-endian numbers, and texts, buffers and lists behind their length (-1: none).
 */
export class JuteWriter {
  private readonly parts: Buffer[] = [];

  int(value: number): this {
    const part = Buffer.allocUnsafe(4);
    part.writeInt32BE(value);
    return this.raw(part);
  }

  long(value: bigint): this {
    const part = Buffer.allocUnsafe(8);
    part.writeBigInt64BE(value);
    return this.raw(part);
  }

  boolean(value: boolean): this {
    return this.raw(Buffer.from([value ? 1 : 0]));
  }

  buffer(value: Buffer): this {
    return this.int(value.length).raw(value);
  }

  text(value: string): this {
    return this.buffer(Buffer.from(value));
  }

  bytes(): Buffer {
    return Buffer.concat(this.parts);
  }

  /** What was written, behind its length. */
  frame(): Buffer {
    const length = Buffer.allocUnsafe(4);
    const bytes = this.bytes();
    length.writeInt32BE(bytes.length);
    return Buffer.concat([length, bytes]);
  }

  raw(part: Buffer): this {
    this.parts.push(part);
    return this;
  }
}

/** Throws a RangeError when there is less than is asked for. */
export class JuteReader {
  private at = 0;

  constructor(private readonly bytes: Buffer) {}

  get isAtEnd(): boolean {
    return this.at >= this.bytes.length;
  }

  int(): number {
    const value = this.bytes.readInt32BE(this.at);
    this.at += 4;
    return value;
  }

  long(): bigint {
    const value = this.bytes.readBigInt64BE(this.at);
    this.at += 8;
    return value;
  }

  buffer(): Buffer {
    const length = this.int();
    if (length < 0) return Buffer.alloc(0);
    const end = this.at + length;
    if (end > this.bytes.length) throw new RangeError(`${length} bytes announced, fewer are there`);
    const value = this.bytes.subarray(this.at, end);
    this.at = end;
    return value;
  }

  text(): string {
    return this.buffer().toString();
  }

  texts(): string[] {
    return Array.from({ length: Math.max(0, this.int()) }, () => this.text());
  }
}
