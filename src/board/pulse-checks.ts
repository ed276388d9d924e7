import type { Finding, PartOf } from './findings.ts';
import type { PulseBoard, RailBoard } from './schema.ts';

type RailPart = PartOf<RailBoard>;

function pulseOf(enable: RailPart['enable']): PartOf<PulseBoard> | null {
  return enable !== undefined && 'pulse' in enable ? enable : null;
}

export function hasSleepState(enable: RailPart['enable']): boolean {
  return pulseOf(enable)?.sleepState === true;
}

/** Longest time of the press that switches a rail on, and until its state shows it; 0 without a button. */
export function pulseOnMs(enable: RailPart['enable']): number {
  const pulse = pulseOf(enable);
  if (pulse === null) return 0;
  const { onMs = 0, takenMs = 0, state } = pulse;
  return onMs + (state === undefined ? 0 : takenMs);
}

/** Longest time of the presses that switch a rail off: a graceful one and what it is given, then a forced one. */
export function pulseOffMs({ enable, onTimeoutMs = 0 }: RailPart): number {
  const pulse = pulseOf(enable);
  if (pulse === null) return 0;
  const { onMs = 0, takenMs = 0, gracefulMs, forceOffMs = 0, state } = pulse;
  const shownWithinMs = state === undefined ? onTimeoutMs : takenMs;
  return (gracefulMs === undefined ? 0 : Math.max(onMs + gracefulMs, shownWithinMs)) + forceOffMs;
}

interface Surroundings {
  /** The enable in the board file. */
  readonly at: readonly string[];
  readonly resets: readonly string[];
  /** Rails that this one does not need, also through others. */
  readonly besides: readonly string[];
  /** The first rail of the chassis with a sleep state; null where none has. */
  readonly sleeper: string | null;
  /** pgood is one line, which shows what becomes of a press as soon as it does. */
  readonly isPgoodLine: boolean;
}

/** What is wrong with the button of a rail, in its chassis. */
export function checkPulse(
  rail: string,
  { enable, good }: RailPart,
  { at, resets, besides, sleeper, isPgoodLine }: Surroundings,
): Finding[] {
  const pulse = pulseOf(enable);
  if (pulse === null) return [];
  return [
    ...checkShown(rail, pulse, good, { at, besides, isPgoodLine }),
    ...checkGraceful(rail, pulse, at, resets, besides),
    ...checkSleepState(rail, pulse, good, { at, sleeper, isPgoodLine }),
  ];
}

/** What goes first is told by looking at the one and then at the other, and a bus is too slow for that. */
function checkSleepState(
  rail: string,
  { sleepState, state }: PartOf<PulseBoard>,
  good: RailPart['good'],
  { at, sleeper, isPgoodLine }: Pick<Surroundings, 'at' | 'sleeper' | 'isPgoodLine'>,
): Finding[] {
  if (sleepState !== true) return [];
  const where = [...at, 'sleepState'];
  const finding = (message: string, suggestion: string): Finding => ({
    at: where,
    message,
    suggestion,
    absent: true,
  });
  if (state === undefined) {
    return [
      finding(
        `the sleep state of ${rail} is what "state" shows, and there is none`,
        'name the line of the sleep signal as "state" of the enable',
      ),
    ];
  }
  if (sleeper !== null && sleeper !== rail) {
    return [
      finding(
        `${sleeper} has a sleep state already, and a chassis has one host that switches itself off`,
        `leave sleepState of ${rail} out`,
      ),
    ];
  }
  if (isPgoodLine && !(good !== undefined && 'pmbus' in good)) return [];
  const what = isPgoodLine ? `the good signal of ${rail}` : 'pgood';
  return [
    finding(
      `whether ${rail} went to sleep before its power went is seen by ${what}, which is not one line`,
      'leave sleepState out, or name the line',
    ),
  ];
}

function checkShown(
  rail: string,
  { state }: PartOf<PulseBoard>,
  good: RailPart['good'],
  { at, besides, isPgoodLine }: Pick<Surroundings, 'at' | 'besides' | 'isPgoodLine'>,
): Finding[] {
  if (state !== undefined) return [];
  if (good !== undefined && 'pmbus' in good) {
    return [
      {
        at,
        message: `the power button of ${rail} is let go by a signal, and a PMBus page is too slow for one`,
        suggestion: 'name the line that shows whether the host is on as "state" of the enable',
        absent: true,
      },
    ];
  }
  if (good !== undefined) return [];
  const [other] = besides;
  if (!isPgoodLine) {
    return [
      {
        at,
        message: `only pgood would show whether ${rail} is on, and pgood is not one line`,
        suggestion: `give ${rail} a good signal, or its enable a "state"`,
        absent: true,
      },
    ];
  }
  if (other === undefined) return [];
  return [
    {
      at,
      message: `only pgood would show whether ${rail} is on, and pgood is also of ${other}, which ${rail} does not need`,
      suggestion: `give ${rail} a good signal, or its enable a "state"`,
      absent: true,
    },
  ];
}

function checkGraceful(
  rail: string,
  { gracefulMs }: PartOf<PulseBoard>,
  at: readonly string[],
  resets: readonly string[],
  besides: readonly string[],
): Finding[] {
  if (gracefulMs === undefined) return [];
  const where = [...at, 'gracefulMs'];
  const [reset] = resets;
  const [other] = besides;
  return [
    ...(reset === undefined
      ? []
      : [
          {
            at: where,
            message: `a host that is to shut down by itself would be held in reset ${reset} before that`,
            suggestion: 'leave gracefulMs out, or the resets',
          },
        ]),
    ...(other === undefined
      ? []
      : [
          {
            at: where,
            message: `a host that is to shut down by itself would lose ${other} meanwhile, which ${rail} does not need`,
            suggestion: `add "${other}" to the needs of ${rail}, or leave gracefulMs out`,
          },
        ]),
  ];
}
