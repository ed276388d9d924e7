/** Which texts are names on D-Bus (D-Bus specification, "Valid Names" and "Valid Object Paths"). */

const MAX_NAME_CHARACTERS = 255;

export const isObjectPath = (text: string) => /^\/$|^(\/[A-Za-z0-9_]+)+$/.test(text);
export const isMemberName = (text: string) =>
  text.length <= MAX_NAME_CHARACTERS && /^[A-Za-z_][A-Za-z0-9_]*$/.test(text);
/** Errors have names of this form too. */
export const isInterfaceName = (text: string) =>
  text.length <= MAX_NAME_CHARACTERS && /^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$/.test(text);
export const isWellKnownName = (text: string) =>
  text.length <= MAX_NAME_CHARACTERS && /^[A-Za-z_-][A-Za-z0-9_-]*(\.[A-Za-z_-][A-Za-z0-9_-]*)+$/.test(text);
