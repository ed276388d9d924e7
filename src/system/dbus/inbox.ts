import { errorText } from '../../../hw/errors.ts';
import { type DbusReplyError, type SystemError, standardError } from '../errors.ts';
import { MESSAGE, type MessageHeader, type TakeBody } from './frames.ts';
import { malformed, readValues } from './reading.ts';

/** The header of a method call. */
export interface CallHeader extends MessageHeader {
  readonly path: string;
  readonly member: string;
  readonly sender: string;
}

/** Answers method calls of other processes. */
export interface CallTaker {
  /** The error for a call that is not taken, decided before its body is read; undefined takes it. Throws nothing. */
  refuse(header: CallHeader): DbusReplyError | undefined;
  /** Takes a call whose body fits its signature. Throws nothing. */
  take(header: CallHeader, body: readonly unknown[]): void;
  /** Answers a call that was not taken. Throws nothing. */
  fail(header: CallHeader, error: DbusReplyError): void;
}

/** A reply that is waited for. Nothing here throws. */
export interface AwaitedReply {
  /** Whether `sender` is the process that was called. */
  isFrom(sender: string): boolean;
  done(body: unknown[]): void;
  /** The process that was called, or the bus, answered with an error. */
  failed(errorName: string, text: string): void;
  /** A reply came that cannot be read. */
  lost(error: SystemError): void;
}

export interface SignalListener {
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature: string;
  /** Whether `sender` may send this signal. */
  isFrom(sender: string): boolean;
  handle(body: unknown[]): void;
}

export interface Inbox {
  judge(header: MessageHeader): TakeBody | undefined;
  expect(serial: number, reply: AwaitedReply): void;
  /** Ends the wait for a reply. One that comes later is ignored. */
  forget(serial: number): void;
  /** Returns the function that ends it. */
  listen(listener: SignalListener): () => void;
}

export interface InboxOptions {
  readonly calls: CallTaker;
  /** Name of the bus, which answers for a process that has gone. */
  readonly busName: string;
  /** Called for a message that a well-behaved peer never sends. */
  readonly onSuspect: (sender: string, what: string) => void;
}

/** Somewhat arbitrary: the longest useful call sets a property to a text. */
const MAX_CALL_BYTES = 8 * 1024;
/** Somewhat arbitrary, for replies and signals of trusted processes: 100 rows of units have 30 KiB. */
const MAX_TRUSTED_BYTES = 1024 * 1024;

/**
 * Accepts messages by their headers, before their bodies are read: calls that are served here, replies of the process that
 * was called, and signals of a process that may send them, each up to a length.
 */
export function createInbox({ calls, busName, onSuspect }: InboxOptions): Inbox {
  const awaited = new Map<number, AwaitedReply>();
  const listeners = new Set<SignalListener>();

  const judgeCall = (header: CallHeader): TakeBody | undefined => {
    const refusal = refusalOf(header, { calls, onSuspect });
    if (refusal !== undefined) {
      calls.fail(header, refusal);
      return undefined;
    }
    return (bytes) => {
      const body = valuesOf(header, bytes);
      if (body instanceof Error) calls.fail(header, standardError('InvalidArgs', errorText(body)));
      else calls.take(header, body);
    };
  };

  const judgeReply = (header: MessageHeader, sender: string): TakeBody | undefined => {
    const { replySerial = 0, type, errorName, bodyBytes } = header;
    const reply = awaited.get(replySerial);
    // A reply after its deadline is not suspect.
    if (reply === undefined) return undefined;
    const isError = type === MESSAGE.error;
    if (!reply.isFrom(sender) && !(isError && sender === busName)) {
      onSuspect(sender, 'an answer to what somebody else was asked');
      return undefined;
    }
    awaited.delete(replySerial);
    if (bodyBytes > MAX_TRUSTED_BYTES) {
      reply.lost(malformed(`the answer has ${bodyBytes} bytes, more than are taken`));
      return undefined;
    }
    return (bytes) => {
      const body = valuesOf(header, bytes);
      if (body instanceof Error) reply.lost(body);
      else if (isError) reply.failed(errorName ?? '', typeof body[0] === 'string' ? body[0] : '');
      else reply.done(body);
    };
  };

  const judgeSignal = (header: MessageHeader, sender: string): TakeBody | undefined => {
    const named = [...listeners].filter(
      (one) => one.path === header.path && one.interface === header.interface && one.member === header.member,
    );
    const wanted = named.filter((one) => one.isFrom(sender));
    const what = `the signal ${header.member}`;
    if (named.length > 0 && wanted.length === 0) onSuspect(sender, `${what}, which is another's to send`);
    const [first] = wanted;
    if (first === undefined) return undefined;
    if (header.signature !== first.signature || header.bodyBytes > MAX_TRUSTED_BYTES) {
      onSuspect(sender, `${what} of ${header.bodyBytes} bytes as "${header.signature}"`);
      return undefined;
    }
    return (bytes) => {
      const body = valuesOf(header, bytes);
      if (body instanceof Error) onSuspect(sender, `${what} with a body that is none (${errorText(body)})`);
      else for (const one of wanted) if (listeners.has(one)) one.handle(body);
    };
  };

  return {
    judge(header) {
      const { type, sender } = header;
      // The bus gives every message a sender.
      if (sender === undefined) return undefined;
      if (type === MESSAGE.signal) return judgeSignal(header, sender);
      if (type === MESSAGE.return || type === MESSAGE.error) return judgeReply(header, sender);
      return isCall(header) ? judgeCall(header) : undefined;
    },

    expect: (serial, reply) => awaited.set(serial, reply),
    forget: (serial) => awaited.delete(serial),

    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** The error for a call that is not taken; undefined for a call whose body is worth reading. */
function refusalOf(
  header: CallHeader,
  { calls, onSuspect }: Pick<InboxOptions, 'calls' | 'onSuspect'>,
): DbusReplyError | undefined {
  const { member, sender, bodyBytes, signature, unixFds } = header;
  const isLong = bodyBytes > MAX_CALL_BYTES;
  if (isLong) onSuspect(sender, `a call of ${member} with ${bodyBytes} bytes`);
  const refusal = calls.refuse(header);
  if (refusal !== undefined) return refusal;
  if (isLong) return standardError('LimitsExceeded', `${member} takes at most ${MAX_CALL_BYTES} bytes`);
  if (unixFds > 0) return standardError('NotSupported', `${member} takes no file descriptors`);
  // The signature was found to be right, so the body cannot be.
  if (signature === '' && bodyBytes > 0) return standardError('InvalidArgs', `${member} takes no arguments`);
  return undefined;
}

/** Whether a message is a call that can be answered. */
const isCall = (header: MessageHeader): header is CallHeader =>
  header.type === MESSAGE.call &&
  header.path !== undefined &&
  header.member !== undefined &&
  header.sender?.startsWith(':') === true;

function valuesOf(header: MessageHeader, bytes: Buffer): unknown[] | SystemError {
  try {
    return readValues(header.signature, bytes, header.isLittleEndian);
  } catch (error) {
    return malformed(errorText(error));
  }
}
