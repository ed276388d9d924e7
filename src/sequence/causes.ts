import type { Cause, Diagnosis, Fault } from './state.ts';

/** Words for what a rail or a chassis failed of, used everywhere. */
const CAUSE_WORDS: Readonly<Record<Cause, string>> = {
  supply: 'power supply failed',
  overvoltage: 'overvoltage',
  overcurrent: 'overcurrent',
  overpower: 'overpower',
  overtemperature: 'overtemperature',
  undertemperature: 'undertemperature',
  undervoltage: 'undervoltage',
  undercurrent: 'undercurrent',
  tracking: 'tracking error',
  removed: 'part removed',
  input: 'bad input',
  neverCame: 'never came',
  dropped: 'dropped',
  stray: 'delivers though it is off',
  stuck: 'does not go off',
  hardware: 'line or device failed',
  unknown: 'cause unknown',
};

/** Whether a text is one of the causes, of which there are words. */
export function isCause(text: unknown): text is Cause {
  return typeof text === 'string' && Object.hasOwn(CAUSE_WORDS, text);
}

/** What evidence is of: `vr_ddr page 0`, or, where no page of a device is, `in3 of iio_hwmon`. */
export function placeOf({ device, page }: { readonly device: string; readonly page: number | null }): string {
  return page === null ? device : `${device} page ${page}`;
}

/** `rail PVDDQ: undervoltage (STATUS_VOUT of vr_ddr page 0 says undervoltage fault)`. */
export function diagnosisText({ rail, cause, because, unread }: Diagnosis): string {
  const where = rail === null ? '' : `rail ${rail}: `;
  const missing = unread.length === 0 ? '' : `; not read: ${unread.join(', ')}`;
  return `${where}${CAUSE_WORDS[cause]} (${because})${missing}`;
}

/** The fault as one clause, with what the evidence adds to it. */
export function faultText({ reason, rail, diagnosis }: Fault): string {
  if (diagnosis === undefined) return reason;
  const { cause, unread, because } = diagnosis;
  const isSame = because === reason && diagnosis.rail === rail;
  if (!isSame) return `${reason}; ${diagnosisText(diagnosis)}`;
  // A device that failed is itself what could not be read.
  return unread.length === 0 || cause === 'hardware' ? reason : `${reason}; not read: ${unread.join(', ')}`;
}

/** The rail at fault: the one that the evidence names, or else the one that was missed. */
export function railAtFault({ rail, diagnosis }: Fault): string | null {
  return diagnosis?.rail ?? rail;
}

/** What is told of a rail that the chassis can do without. */
export function missedText(reason: string): string {
  return `${reason}: the chassis does without it`;
}
