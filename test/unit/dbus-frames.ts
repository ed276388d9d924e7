/**
 * Messages as bytes, after the D-Bus specification ("Message Protocol"), and written without the library and without
 * the program: what nobody's library lets through can be made here.
 */
export type Endian = 'l' | 'B';

/** Writes one value after the other at the alignment that its type has. */
export interface Writer {
  readonly bytes: () => Buffer;
  align(to: number): void;
  raw(bytes: Uint8Array): void;
  number(size: 1 | 2 | 4 | 8, value: number | bigint): void;
  text(value: string): void;
  signature(value: string): void;
  /** The length in bytes first, without the padding before the first member. */
  array(alignment: number, writeMembers: () => void): void;
}

export function createWriter(endian: Endian): Writer {
  const parts: Buffer[] = [];
  let length = 0;
  const raw = (bytes: Uint8Array) => {
    parts.push(Buffer.from(bytes));
    length += bytes.length;
  };
  const align = (to: number) => raw(new Uint8Array((to - (length % to)) % to));
  const encoded = (size: number, value: number | bigint) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)));
    const little = bytes.subarray(0, size);
    return endian === 'l' ? little : Buffer.from(little).reverse();
  };
  const number = (size: 1 | 2 | 4 | 8, value: number | bigint) => {
    align(size);
    raw(encoded(size, value));
  };
  return {
    bytes: () => Buffer.concat(parts),
    align,
    raw,
    number,
    text(value) {
      number(4, Buffer.byteLength(value));
      raw(Buffer.from(`${value}\0`));
    },
    signature(value) {
      number(1, Buffer.byteLength(value));
      raw(Buffer.from(`${value}\0`));
    },
    array(alignment, writeMembers) {
      number(4, 0);
      const lengthPart = parts.length - 1;
      align(alignment);
      const start = length;
      writeMembers();
      parts[lengthPart] = encoded(4, length - start);
    },
  };
}

/** Types of messages and flags (D-Bus specification, "Message Format"). */
export const CALL = 1;
export const RETURN = 2;
export const ERROR = 3;
export const SIGNAL = 4;
export const NO_REPLY = 1;

/** Codes of the header's fields, and of what type each is. */
const FIELDS = {
  path: [1, 'o'],
  interface: [2, 's'],
  member: [3, 's'],
  errorName: [4, 's'],
  replySerial: [5, 'u'],
  destination: [6, 's'],
  sender: [7, 's'],
  signature: [8, 'g'],
  unixFds: [9, 'u'],
} as const;

export interface Frame {
  readonly endian?: Endian;
  readonly type: number;
  readonly flags?: number;
  readonly version?: number;
  readonly serial?: number;
  readonly path?: string;
  readonly interface?: string;
  readonly member?: string;
  readonly errorName?: string;
  readonly replySerial?: number;
  readonly destination?: string;
  readonly sender?: string;
  readonly signature?: string;
  readonly unixFds?: number;
  readonly body?: Uint8Array;
  /** What the header says, where it is not how long the body is. */
  readonly bodyBytes?: number;
  /** Fields of no known kind, as code, signature and value. */
  readonly more?: readonly (readonly [code: number, signature: string, write: (writer: Writer) => void])[];
}

/** The bytes of a message. */
export function encode(frame: Frame): Buffer {
  const { endian = 'l', body = new Uint8Array(), more = [] } = frame;
  const message = createWriter(endian);
  message.raw(Buffer.from(endian));
  message.number(1, frame.type);
  message.number(1, frame.flags ?? 0);
  message.number(1, frame.version ?? 1);
  message.number(4, frame.bodyBytes ?? body.length);
  message.number(4, frame.serial ?? 1);
  const field = (code: number, signature: string, write: (writer: Writer) => void) => {
    message.align(8);
    message.number(1, code);
    message.signature(signature);
    write(message);
  };
  message.array(8, () => {
    for (const [name, [code, type]] of Object.entries(FIELDS)) {
      const value = frame[name as keyof typeof FIELDS];
      if (value === undefined || value === '') continue;
      field(code, type, (writer) => {
        if (type === 'u') writer.number(4, Number(value));
        else if (type === 'g') writer.signature(String(value));
        else writer.text(String(value));
      });
    }
    for (const one of more) field(...one);
  });
  message.align(8);
  message.raw(body);
  return message.bytes();
}

/** A value with the type that it is sent as. */
export interface Typed {
  readonly signature: string;
  readonly write: (writer: Writer) => void;
  /** What a receiver makes of it, in the words of `hw/ports.ts`. */
  readonly value: unknown;
}

export function encodeBody(values: readonly Typed[], endian: Endian = 'l'): Buffer {
  const writer = createWriter(endian);
  for (const { write } of values) write(writer);
  return writer.bytes();
}
export const signatureOf = (values: readonly Typed[]) => values.map(({ signature }) => signature).join('');

const alignmentOf = (signature: string): number => {
  const code = signature[0] ?? '';
  if ('ygv'.includes(code)) return 1;
  if ('nq'.includes(code)) return 2;
  return 'xtd({'.includes(code) ? 8 : 4;
};

export const text = (value: string): Typed => ({
  signature: 's',
  value,
  write: (writer) => writer.text(value),
});
export const int32 = (value: number): Typed => ({
  signature: 'i',
  value,
  write: (writer) => writer.number(4, value),
});
export const variant = (of: Typed): Typed => ({
  signature: 'v',
  value: { signature: of.signature, value: of.value },
  write(writer) {
    writer.signature(of.signature);
    of.write(writer);
  },
});
export const array = (of: string, members: readonly Typed[]): Typed => ({
  signature: `a${of}`,
  value:
    of === 'y' ? Buffer.from(members.map(({ value }) => Number(value))) : members.map(({ value }) => value),
  write: (writer) =>
    writer.array(alignmentOf(of), () => {
      for (const { write } of members) write(writer);
    }),
});
export const struct = (members: readonly Typed[]): Typed => ({
  signature: `(${signatureOf(members)})`,
  value: members.map(({ value }) => value),
  write(writer) {
    writer.align(8);
    for (const { write } of members) write(writer);
  },
});
export const dict = (of: string, entries: readonly (readonly [string, Typed])[]): Typed => {
  const members = entries.map(
    ([key, value]): Typed => ({ ...struct([text(key), value]), signature: `{s${of}}` }),
  );
  return {
    ...array(`{s${of}}`, members),
    value: Object.fromEntries(entries.map(([key, { value }]) => [key, value])),
  };
};
