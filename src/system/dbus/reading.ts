import { isUtf8 } from 'node:buffer';
import { isObjectPath } from '../../dbus-names.ts';
import { SystemError } from '../errors.ts';
import { parseSignature, type ValueType } from './values.ts';

/** The error for a message or a body of another process that is malformed. */
export const malformed = (text: string) => new SystemError('DBUS_MALFORMED', text);

/** Depth of all containers in a message (D-Bus specification, "Valid Signatures" and "Container types"). */
const MAX_DEPTH = 64;

/**
 * Reads the values in `bytes`, which must fill them from `start` to the end. Values have the types of `ServedProperty` in
 * `src/system/ports.ts`; keys of dictionaries that are no strings become strings. Everything is checked, because some buses
 * pass bodies on unchecked, and the time is bounded by the number of bytes.
 * @throws SystemError DBUS_MALFORMED
 */
export function readValues(signature: string, bytes: Buffer, isLittleEndian: boolean, start = 0): unknown[] {
  const types = parseSignature(signature, ANY_DICT_KEY);
  if (types === undefined) throw malformed(`"${signature}" is no signature of values that can be taken`);
  const reader = new Reader(bytes, isLittleEndian, start);
  const values = types.map((type) => reader.value(type, 0));
  reader.assertEnd();
  return values;
}

const ANY_DICT_KEY = 'ybnqiuxtdsog';

/** Alignment of each type in bytes (D-Bus specification, "Summary of D-Bus marshalling"). */
function alignmentOf(type: ValueType): number {
  switch (type.kind) {
    case 'basic':
    case 'variant':
      return ALIGNMENT[type.code] ?? 4;
    case 'array':
    case 'dict':
      return 4;
    case 'struct':
      return 8;
  }
}
const ALIGNMENT: Readonly<Record<string, number>> = { y: 1, g: 1, v: 1, n: 2, q: 2, x: 8, t: 8, d: 8 };

class Reader {
  readonly #bytes: Buffer;
  readonly #view: DataView;
  readonly #isLittleEndian: boolean;
  #at: number;

  constructor(bytes: Buffer, isLittleEndian: boolean, start: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#isLittleEndian = isLittleEndian;
    this.#at = start;
  }

  value(type: ValueType, depth: number): unknown {
    if (depth > MAX_DEPTH) throw malformed('the values are nested too deep');
    switch (type.kind) {
      case 'basic':
        return this.#basic(type.code);
      case 'variant': {
        const signature = this.#signature();
        const [of, ...more] = parseSignature(signature, ANY_DICT_KEY) ?? [];
        if (of === undefined || more.length > 0) {
          throw malformed(`"${signature}" is no signature of one value that can be taken`);
        }
        return { signature, value: this.value(of, depth + 1) };
      }
      case 'array':
        return type.isBytes
          ? Buffer.from(this.#take(this.#uint32()))
          : this.#members(alignmentOf(type.of), () => this.value(type.of, depth + 1));
      case 'struct':
        this.#align(8);
        return type.of.map((of) => this.value(of, depth + 1));
      case 'dict':
        return Object.fromEntries(
          this.#members(8, () => {
            this.#align(8);
            const key = String(this.value(type.key, depth + 1));
            return [key, this.value(type.of, depth + 1)];
          }),
        );
    }
  }

  assertEnd(): void {
    if (this.#at !== this.#bytes.length) throw malformed('there are more bytes than values');
  }

  /** Reads the members of an array. Its length does not count the padding before the first member. */
  #members<T>(alignment: number, read: () => T): T[] {
    const length = this.#uint32();
    this.#align(alignment);
    const end = this.#at + length;
    if (end > this.#bytes.length) throw malformed('an array is longer than its message');
    const members: T[] = [];
    while (this.#at < end) {
      members.push(read());
    }
    if (this.#at !== end) throw malformed('the members of an array do not fill it');
    return members;
  }

  #basic(code: string): unknown {
    switch (code) {
      case 'y':
        return this.#view.getUint8(this.#skip(1));
      case 'b': {
        const value = this.#uint32();
        if (value > 1) throw malformed(`${value} is no boolean`);
        return value === 1;
      }
      case 'n':
        return this.#view.getInt16(this.#skip(2), this.#isLittleEndian);
      case 'q':
        return this.#view.getUint16(this.#skip(2), this.#isLittleEndian);
      case 'i':
        return this.#view.getInt32(this.#skip(4), this.#isLittleEndian);
      case 'u':
        return this.#uint32();
      case 'x':
        return this.#view.getBigInt64(this.#skip(8), this.#isLittleEndian);
      case 't':
        return this.#view.getBigUint64(this.#skip(8), this.#isLittleEndian);
      case 'd':
        return this.#view.getFloat64(this.#skip(8), this.#isLittleEndian);
      case 's':
        return this.#text(this.#uint32());
      case 'o': {
        const path = this.#text(this.#uint32());
        if (!isObjectPath(path)) throw malformed('an object path is none');
        return path;
      }
      case 'g':
        return this.#signature();
      default:
        throw malformed(`values of type ${code} are not taken`);
    }
  }

  #signature(): string {
    return this.#text(this.#view.getUint8(this.#skip(1)));
  }

  #text(length: number): string {
    const bytes = this.#take(length);
    const [end] = this.#take(1);
    if (end !== 0 || bytes.includes(0) || !isUtf8(bytes)) throw malformed('a text is none');
    return bytes.toString('utf8');
  }

  #uint32(): number {
    return this.#view.getUint32(this.#skip(4), this.#isLittleEndian);
  }

  #align(to: number): void {
    this.#at = Math.ceil(this.#at / to) * to;
  }

  /** Skips a number of the given size, and returns its begin. */
  #skip(size: number): number {
    this.#align(size);
    const at = this.#at;
    this.#take(size);
    return at;
  }

  #take(size: number): Buffer {
    const end = this.#at + size;
    if (end > this.#bytes.length) throw malformed('a value is longer than its message');
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }
}
