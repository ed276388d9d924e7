/**
 * Values of the D-Bus specification. dbus-next (0.10.2) does not check object paths, signatures and member names,
 * and the bus disconnects a sender of wrong ones.
 */

import { isObjectPath } from '../../dbus-names.ts';
import { SystemError } from '../errors.ts';
import type { DbusVariant } from '../ports.ts';

/** The error for something that D-Bus does not allow this program to send. */
export const misuse = (text: string, options?: ErrorOptions) =>
  new SystemError('DBUS_MISUSE', text, {}, options);

const MAX_SIGNATURE_BYTES = 255;
/** Depth of arrays, and of structs. */
const MAX_NESTING = 32;
/** Depth of all containers in a message. The specification allows 64, variants included; a dictionary counts twice. */
const MAX_DEPTH = 32;

const integerFrom = (lowest: number, highest: number) => (value: unknown) =>
  Number.isInteger(value) && Number(value) >= lowest && Number(value) <= highest;
const longFrom = (lowest: bigint, highest: bigint) => (value: unknown) =>
  (typeof value === 'bigint' || Number.isSafeInteger(value)) &&
  BigInt(value as bigint | number) >= lowest &&
  BigInt(value as bigint | number) <= highest;
const textThat = (is: (text: string) => boolean) => (value: unknown) =>
  typeof value === 'string' && is(value);

/** The values that dbus-next can send, by type code: neither file descriptors nor the lowest INT64, NaN and infinity. */
const BASIC: Readonly<Record<string, (value: unknown) => boolean>> = {
  y: integerFrom(0, 0xff),
  b: (value) => typeof value === 'boolean',
  n: integerFrom(-0x8000, 0x7fff),
  q: integerFrom(0, 0xffff),
  i: integerFrom(-0x8000_0000, 0x7fff_ffff),
  u: integerFrom(0, 0xffff_ffff),
  x: longFrom(1n - 2n ** 63n, 2n ** 63n - 1n),
  t: longFrom(0n, 2n ** 64n - 1n),
  d: (value) => Number.isFinite(value),
  s: textThat((text) => !text.includes('\0')),
  o: textThat(isObjectPath),
  g: textThat(isSignature),
};
/** Dictionaries are JavaScript objects, so their keys are strings. */
const DICT_KEYS = 'sog';

export type ValueType =
  | { readonly kind: 'basic' | 'variant'; readonly code: string }
  | { readonly kind: 'array'; readonly of: ValueType; readonly isBytes: boolean }
  | { readonly kind: 'dict'; readonly key: ValueType; readonly of: ValueType }
  | { readonly kind: 'struct'; readonly of: readonly ValueType[] };

/** Whether values of this signature can be sent. */
function isSignature(text: string): boolean {
  return parseSignature(text) !== undefined;
}

/** Whether `text` is the signature of exactly one value, as of a property or an argument. */
export function isSingleSignature(text: string): boolean {
  return parseSignature(text)?.length === 1;
}

/** @param dictKeys allowed types of the keys of a dictionary */
export function parseSignature(text: string, dictKeys = DICT_KEYS): readonly ValueType[] | undefined {
  if (text.length > MAX_SIGNATURE_BYTES) return undefined;
  let at = 0;
  /** Undefined for an invalid type, which makes all types around it invalid. */
  const next = (arrays: number, structs: number): ValueType | undefined => {
    if (arrays > MAX_NESTING || structs > MAX_NESTING) return undefined;
    const code = text[at++] ?? '';
    if (code === 'v') return { kind: 'variant', code };
    if (Object.hasOwn(BASIC, code)) return { kind: 'basic', code };
    if (code === 'a' && text[at] === '{') {
      at += 1;
      const key = dictKeys.includes(text[at] ?? '-') ? next(arrays + 1, structs) : undefined;
      const of = next(arrays + 1, structs + 1);
      return key && of && text[at++] === '}' ? { kind: 'dict', key, of } : undefined;
    }
    if (code === 'a') {
      const isBytes = text[at] === 'y';
      const of = next(arrays + 1, structs);
      return of && { kind: 'array', of, isBytes };
    }
    if (code !== '(') return undefined;
    const of: ValueType[] = [];
    do {
      const member = next(arrays, structs + 1);
      if (member === undefined) return undefined;
      of.push(member);
    } while (text[at] !== ')');
    at += 1;
    return { kind: 'struct', of };
  };

  const types: ValueType[] = [];
  while (at < text.length) {
    const type = next(0, 0);
    if (type === undefined) return undefined;
    types.push(type);
  }
  return types;
}

/**
 * Makes sure that values can be sent under a signature.
 * @throws SystemError DBUS_MISUSE
 */
export function assertSendable(signature: string, body: readonly unknown[]): void {
  toSendable(signature, body, () => undefined);
}

/** Makes the object that dbus-next sends for a `DbusVariant`. */
type MakeVariant = (signature: string, value: unknown) => unknown;

/**
 * Values as dbus-next sends them: each `DbusVariant` as the result of `makeVariant`, bytes as a Buffer.
 * @throws SystemError DBUS_MISUSE when a value cannot be sent
 */
export function toSendable(signature: string, body: readonly unknown[], makeVariant: MakeVariant): unknown[] {
  const types = parseSignature(signature);
  if (types === undefined) throw misuse(`${signature} is no signature of values that can be sent`);
  if (types.length !== body.length) {
    throw misuse(`${types.length} values were expected (${signature}) and ${body.length} were given`);
  }
  return types.map((type, index) => convertOne(type, body[index], makeVariant, 0));
}

function convertOne(type: ValueType, value: unknown, makeVariant: MakeVariant, depth: number): unknown {
  if (depth > MAX_DEPTH) throw misuse('the value is nested too deep');
  const inside = (of: ValueType, member: unknown) => convertOne(of, member, makeVariant, depth + 1);
  switch (type.kind) {
    case 'basic':
      if (!BASIC[type.code]?.(value)) throw misuse(`${show(value)} cannot be sent as ${type.code}`);
      return value;
    case 'variant': {
      if (!isVariant(value)) throw misuse(`${show(value)} is no variant: { signature, value } was expected`);
      const [of, ...more] = parseSignature(value.signature) ?? [];
      if (of === undefined || more.length > 0)
        throw misuse(`${value.signature} is no signature of one value`);
      return makeVariant(value.signature, inside(of, value.value));
    }
    case 'array':
      if (type.isBytes && value instanceof Uint8Array) return Buffer.from(value);
      if (!Array.isArray(value)) throw misuse(`${show(value)} is no array`);
      return value.map((member) => inside(type.of, member));
    case 'struct':
      if (!Array.isArray(value) || value.length !== type.of.length) {
        throw misuse(`${show(value)} is no array of ${type.of.length} members`);
      }
      return type.of.map((of, index) => inside(of, value[index]));
    case 'dict':
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        throw misuse(`${show(value)} is no object`);
      }
      return Object.fromEntries(
        Object.entries(value).map(([key, member]) => [inside(type.key, key), inside(type.of, member)]),
      );
  }
}

const isVariant = (value: unknown): value is DbusVariant =>
  typeof value === 'object' && value !== null && 'signature' in value && typeof value.signature === 'string';

/** The type of a value, in words for a message. */
const show = (value: unknown) =>
  typeof value === 'object' && value !== null
    ? `a ${value.constructor?.name ?? 'object'}`
    : `${typeof value} ${String(value).slice(0, 40)}`;
