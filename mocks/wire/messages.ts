import type { Duplex } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { CodedError, errorText, HardwareError, type HardwareErrorCode } from '../../hw/errors.ts';
import { SystemError, type SystemErrorCode } from '../../src/system/errors.ts';
import { MockMisuse } from '../backends/misuse.ts';
import { FaultSyntaxError } from '../plant/faults.ts';

/**
 * The hardware ports over a byte stream. Each side writes JSON values, one a line:
 * `{ id, call, args }` asks, `{ id, value }` or `{ id, error }` answers, `{ wake }` tells the watch of that id of an edge.
 * Whoever serves keeps what a client holds and takes it back when the stream ends.
 */
export interface Request {
  readonly id: number;
  readonly call: string;
  readonly args: readonly unknown[];
}
export type Reply =
  | { readonly id: number; readonly value?: unknown }
  | { readonly id: number; readonly error: WireError }
  | { readonly wake: number };

export interface WireError {
  readonly name: string;
  readonly message: string;
  readonly code?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** Calls `take` for every line. Resolves when the stream has ended, broke, or carried something else. */
export function readValues(stream: Duplex, take: (value: unknown) => void): Promise<void> {
  return new Promise((resolve) => {
    const decoder = new StringDecoder('utf8');
    let rest = '';
    stream.on('data', (chunk: Buffer) => {
      const texts = (rest + decoder.write(chunk)).split('\n');
      rest = texts.pop() ?? '';
      for (const text of texts) {
        let value: unknown;
        try {
          value = JSON.parse(text);
        } catch (error) {
          stream.destroy(new Error(`not a line of JSON: ${errorText(error)}`));
          return;
        }
        take(value);
      }
    });
    stream.on('end', () => {
      stream.end();
      resolve();
    });
    stream.on('close', resolve);
    // 'close' follows; a broken connection is the end of this client and no more.
    stream.on('error', () => stream.destroy());
  });
}

export function encodeError(error: unknown): WireError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  const { name, message } = error;
  const code = 'code' in error && typeof error.code === 'string' ? { code: error.code } : {};
  const details = error instanceof CodedError ? { details: error.details } : {};
  return { name, message, ...code, ...details };
}

export function decodeError({ name, message, code, details }: WireError): Error {
  if (name === 'HardwareError') return new HardwareError(code as HardwareErrorCode, message, { ...details });
  if (name === 'SystemError') return new SystemError(code as SystemErrorCode, message, { ...details });
  if (name === 'FaultSyntaxError') return new FaultSyntaxError(message);
  if (name === 'MockMisuse') return new MockMisuse(message);
  return Object.assign(new Error(message), { name }, code === undefined ? {} : { code });
}
