import { isInterfaceName, isMemberName, isObjectPath, isWellKnownName } from '../dbus-names.ts';

/**
 * Names that every JavaScript object has. A rail, device or reset with such a name could get lost in a table by name, so
 * none is accepted.
 */
const TAKEN_NAMES: ReadonlySet<string> = new Set([
  ...Object.getOwnPropertyNames(Object.prototype),
  'prototype',
]);

/** What a place of the board file asks beside the type of its value and its limits; `v.check` of its schema takes no other ones. */
export const BOARD_RULES = {
  isFreeName: (text: string) => !TAKEN_NAMES.has(text),
  isAddress: (text: string) => Number(text) >= 0x03 && Number(text) <= 0x77,
  isAboveZero: (value: number) => value > 0,
  isNotZero: (value: number) => value !== 0,
  isNotEmpty: <All extends object>(all: All) => Object.keys(all).length > 0,
  isPathOfObject: (text: string) => isObjectPath(text) && text !== '/',
  isWellKnownName,
  isInterfaceName,
  isMemberName,
};
