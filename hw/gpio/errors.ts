import { errnoCode, HardwareError, type HardwareErrorCode, systemFailure } from '../errors.ts';
import { lineLabel } from '../lines.ts';
import type { Level, LineRef } from '../ports.ts';

/*
 * The errors of `GpioBackend` in ports.ts, with the same words for the driver and for its stand-in. The text of a line
 * comes from `lineLabel`.
 */

type Details = Record<string, unknown>;

/** The kernel's list of lines with their users; only root can read it. */
export const DEBUG_LIST = '/sys/kernel/debug/gpio';

/** @param what failed: `read`, `driven` … */
export function cannotBe(error: unknown, line: string, what: string, details: Details): HardwareError {
  const code: HardwareErrorCode =
    errnoCode(error) === 'EBUSY' ? 'GPIO_BUSY' : isRefusal(error) ? 'GPIO_PERMISSION' : 'GPIO_FAILED';
  return systemFailure(error, code, `GPIO ${line} cannot be ${what}`, details);
}

/** @param what did not happen: `did not answer within 1000 ms` … */
export function lineTimeout(
  line: string,
  what: string,
  details: Details,
  options?: ErrorOptions,
): HardwareError {
  const text = `GPIO ${line} ${what}: its chip, or the bus that it is on, hangs`;
  return new HardwareError('GPIO_TIMEOUT', text, details, options);
}

export function isRefusal(error: unknown): boolean {
  return ['EACCES', 'EPERM', 'EROFS'].includes(errnoCode(error) ?? '');
}

/** @param consumer of the line, where it is known */
export function lineHeld(
  error: unknown,
  line: string,
  consumer: string | undefined,
  details: Details,
): HardwareError {
  const holder = consumer === undefined ? 'a kernel driver or another program' : `"${consumer}"`;
  return systemFailure(
    error,
    'GPIO_BUSY',
    `GPIO ${line} is held by ${holder}; see ${DEBUG_LIST} or gpioinfo`,
    consumer === undefined ? details : { ...details, consumer },
  );
}

/** @param level the driven one */
export function notFollowed(line: string, level: Level, details: Details): HardwareError {
  return new HardwareError(
    'GPIO_NOT_FOLLOWED',
    `GPIO ${line} was driven ${wordOf(level)} but reads ${wordOf(level === 1 ? 0 : 1)}: another driver or a short holds it`,
    { ...details, level, readBack: true },
  );
}

export function wordOf(level: Level): 'high' | 'low' {
  return level === 1 ? 'high' : 'low';
}

export function lineClosed(line: string, details: Details): HardwareError {
  return new HardwareError('GPIO_FAILED', `GPIO ${line} was closed`, details);
}

/** @param listing the existing chips: `there is …` */
export function noChip(chip: string, listing: string, labels: readonly string[]): HardwareError {
  return new HardwareError('GPIO_NO_CHIP', `no GPIO chip has the label "${chip}": ${listing}`, {
    chip,
    labels,
  });
}

/** For a line that is neither an offset nor a port name. */
export function noOffset(ref: Extract<LineRef, { readonly chip: string }>): HardwareError {
  return new HardwareError(
    'GPIO_NO_LINE',
    `"${ref.line}" is no line of "${ref.chip}": give an offset such as 16 or an ASPEED port name such as "C0"`,
    { line: lineLabel(ref) },
  );
}

/** @param names of all named lines */
export function noLineName(name: string, names: readonly string[]): HardwareError {
  const hint =
    names.length === 0
      ? 'the device tree names no line of any chip, name the line by chip label and offset instead'
      : `none of the ${names.length} named lines is called so`;
  return new HardwareError('GPIO_NO_LINE', `no GPIO line has the name "${name}": ${hint}`, {
    line: lineLabel({ name }),
    names,
  });
}

export function notGivenOut(error: unknown, line: string, details: Details): HardwareError {
  return systemFailure(error, 'GPIO_NO_LINE', `the kernel does not give out GPIO ${line}`, details);
}

/** For a line that cannot be given back. */
export function stillOpen(line: string, details: Details): HardwareError {
  return new HardwareError('GPIO_BUSY', `GPIO ${line} is still open in this process`, details);
}

export function staysTaken(line: string, details: Details): HardwareError {
  return new HardwareError(
    'GPIO_FAILED',
    `GPIO ${line} was given back but is taken again: another program exports it`,
    details,
  );
}
