import { errorText } from '../../../hw/errors.ts';
import { malformed, readValues } from './reading.ts';

/** Types of messages (D-Bus specification, "Message Types"). Unknown types are to be ignored. */
export const MESSAGE = { call: 1, return: 2, error: 3, signal: 4 } as const;

/** Flag of a call whose sender wants no answer (D-Bus specification, "Header Flags"). */
const NO_REPLY_EXPECTED = 1;

/** The header of a message. */
export interface MessageHeader {
  readonly type: number;
  readonly isLittleEndian: boolean;
  readonly isReplyExpected: boolean;
  readonly serial: number;
  readonly bodyBytes: number;
  readonly path?: string;
  readonly interface?: string;
  readonly member?: string;
  readonly errorName?: string;
  readonly replySerial?: number;
  /** Set by the bus, so no sender can pass for another one. */
  readonly sender?: string;
  /** Empty for a message without a body. */
  readonly signature: string;
  /** Number of file descriptors that came with the message. */
  readonly unixFds: number;
}

/** Fields of a header by their code, each with its type (D-Bus specification, "Header Fields"). */
const FIELDS: readonly (readonly [name: string, type: string] | undefined)[] = [
  undefined,
  ['path', 'o'],
  ['interface', 's'],
  ['member', 's'],
  ['errorName', 's'],
  ['replySerial', 'u'],
  ['destination', 's'],
  ['sender', 's'],
  ['signature', 'g'],
  ['unixFds', 'u'],
];

/** Length of the part of a header that every message has (D-Bus specification, "Message Format"). */
const FIXED_BYTES = 16;
/** Where the array of the fields begins, with its length. */
const FIELDS_AT = 12;
/** D-Bus specification: of a whole message, and of an array. */
const MAX_MESSAGE_BYTES = 128 * 1024 * 1024;
const MAX_ARRAY_BYTES = 64 * 1024 * 1024;
/** Somewhat arbitrary: six names of 255 characters, and ten times that. */
const MAX_HEADER_BYTES = 16 * 1024;

const LITTLE_ENDIAN = 'l'.charCodeAt(0);
const BIG_ENDIAN = 'B'.charCodeAt(0);
const PROTOCOL_VERSION = 1;

interface FixedHeader
  extends Pick<MessageHeader, 'type' | 'isLittleEndian' | 'isReplyExpected' | 'serial' | 'bodyBytes'> {
  readonly fieldsBytes: number;
}

/** @throws SystemError DBUS_MALFORMED for bytes that begin no message; the begin of the next one is unknown then */
function readFixed(bytes: Buffer): FixedHeader {
  const [endian = 0, type = 0, flags = 0, version] = bytes;
  if (endian !== LITTLE_ENDIAN && endian !== BIG_ENDIAN) throw malformed(`${endian} is no order of bytes`);
  if (version !== PROTOCOL_VERSION) throw malformed(`version ${version} of the protocol is not known`);
  const isLittleEndian = endian === LITTLE_ENDIAN;
  const number = (at: number) => (isLittleEndian ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  const [bodyBytes, serial, fieldsBytes] = [number(4), number(8), number(FIELDS_AT)];
  if (type === 0 || serial === 0) throw malformed('a message has no type or no serial');
  if (fieldsBytes > MAX_ARRAY_BYTES || FIXED_BYTES + padded(fieldsBytes) + bodyBytes > MAX_MESSAGE_BYTES) {
    throw malformed(`a message of ${fieldsBytes} and ${bodyBytes} bytes is longer than any may be`);
  }
  return {
    type,
    isLittleEndian,
    isReplyExpected: (flags & NO_REPLY_EXPECTED) === 0,
    serial,
    bodyBytes,
    fieldsBytes,
  };
}

const padded = (bytes: number) => Math.ceil(bytes / 8) * 8;

/** @throws SystemError DBUS_MALFORMED */
function readFields({ fieldsBytes, ...fixed }: FixedHeader, bytes: Buffer): MessageHeader {
  const array = bytes.subarray(0, FIXED_BYTES + fieldsBytes);
  const [rows] = readValues('a(yv)', array, fixed.isLittleEndian, FIELDS_AT);
  const fields: Partial<Record<string, unknown>> = {};
  for (const [code, { signature, value }] of rows as [number, { signature: string; value: unknown }][]) {
    const [name, type] = FIELDS[code] ?? [];
    // Unknown fields are to be ignored.
    if (name === undefined) continue;
    if (signature !== type || name in fields) throw malformed(`the header has no ${name} that can be taken`);
    fields[name] = value;
  }
  return { ...fixed, signature: '', unixFds: 0, ...fields };
}

/** Takes the whole body of a message that was judged. */
export type TakeBody = (body: Buffer) => void;

export interface FrameReaderOptions {
  /**
   * Judges a message by its header, and gives the function that takes its body; undefined skips the body as it comes in.
   * Neither may throw.
   */
  readonly judge: (header: MessageHeader) => TakeBody | undefined;
  /** Called for messages that cannot be judged. */
  readonly passedOver: (why: string) => void;
}

/**
 * Splits the bytes from a bus into messages. It keeps one header and one wanted body at most. The returned function takes
 * bytes up to the end of one message, and gives back the rest.
 * @throws SystemError DBUS_MALFORMED (the returned function) when the begin of the next message is unknown
 */
export function createFrameReader({ judge, passedOver }: FrameReaderOptions): (chunk: Buffer) => Buffer {
  let parts: Buffer[] = [];
  let heldBytes = 0;
  let passBytes = 0;
  let fixed: Buffer | undefined;
  let head: FixedHeader | undefined;
  let take: TakeBody | undefined;
  let rest: Buffer;

  /** The given number of bytes, once they have arrived. */
  const gather = (size: number): Buffer | undefined => {
    const part = rest.subarray(0, size - heldBytes);
    parts.push(part);
    heldBytes += part.length;
    rest = rest.subarray(part.length);
    if (heldBytes < size) return undefined;
    const whole = parts.length === 1 ? part : Buffer.concat(parts);
    parts = [];
    heldBytes = 0;
    return whole;
  };
  const readable = (of: FixedHeader, bytes: Buffer): MessageHeader | undefined => {
    try {
      return readFields(of, bytes);
    } catch (error) {
      passedOver(`a message with a header that is none (${errorText(error)})`);
      return undefined;
    }
  };
  const pass = (bytes: number) => {
    passBytes = bytes;
    fixed = undefined;
    head = undefined;
    take = undefined;
  };

  /** Reads to the end of one message, or to the end of the bytes. */
  const step = () => {
    if (fixed === undefined) {
      fixed = gather(FIXED_BYTES);
      if (fixed === undefined) return;
    }
    head ??= readFixed(fixed);
    if (take === undefined) {
      const fieldsBytes = padded(head.fieldsBytes);
      if (fieldsBytes > MAX_HEADER_BYTES) {
        passedOver(`a message with a header of ${fieldsBytes} bytes`);
        pass(fieldsBytes + head.bodyBytes);
        return;
      }
      const fields = gather(fieldsBytes);
      if (fields === undefined) return;
      const header = readable(head, Buffer.concat([fixed, fields]));
      take = header && judge(header);
      if (take === undefined) {
        pass(head.bodyBytes);
        return;
      }
    }
    const body = gather(head.bodyBytes);
    if (body === undefined) return;
    const taken = take;
    pass(0);
    taken(body);
  };

  return (chunk) => {
    rest = chunk;
    const passed = Math.min(passBytes, rest.length);
    passBytes -= passed;
    rest = rest.subarray(passed);
    if (rest.length > 0) step();
    return rest;
  };
}
