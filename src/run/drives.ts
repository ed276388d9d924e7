import { CodedError, errorText, wasReadBack } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { endsWithin, pause } from '../../hw/waiting.ts';
import type { Drive, SequenceAction, SequenceEvent } from '../sequence/events.ts';
import { downBefore, hangingOn, type Plan } from '../sequence/plan.ts';
import type { ChassisHardware } from './hardware.ts';
import { ONCE_MORE_MS } from './parts.ts';
import type { Recording } from './recording.ts';

/** What switches something. */
export type DriveAction = Extract<
  SequenceAction,
  { readonly type: 'driveEnable' | 'driveReset' | 'pulseLatch' }
>;
/** What takes power away, or holds a reset before that. */
export type LoweringAction = Exclude<DriveAction, { readonly type: 'pulseLatch' }>;

/**
 * Switches what the machine wants switched. What comes of it is events for the machine: DRIVEN, LATCHED, DRIVE_FAILED.
 *
 * Power comes up one thing after the other. On the way down nothing waits but for what the order has it wait for: an
 * enable for the resets, which are held before power goes, and for the enables of the rails that need its rail. After a
 * loss it waits for these no longer than `GRACE_MS`, from when it was wanted on. An enable takes
 * - over GPIO some milliseconds, of which one is for the line to follow;
 * - over PMBus on a bus that hangs 1,100 ms: 100 for the hold of the bus and the deadline of one transfer, behind one more
 *   deadline where something was being read;
 * - of a device that acknowledges nothing `ONCE_MORE_MS` more: it is told again;
 * - by a power button as long as it is pressed and the host takes (src/run/pulses.ts).
 * A hanging device so delays its own rails, one after the other, and those that they need, and no others; after a loss it
 * delays no line by more than `GRACE_MS`.
 */
export interface Drives {
  /** Switches now, for power that comes up, and after everything that is under way. */
  carryOut(action: DriveAction): Promise<SequenceEvent[]>;
  /** Begins to switch; what comes of it is told to `ended`. */
  begin(action: LoweringAction, atOnce: boolean): void;
  /** Something that was begun has not ended. */
  isUnderWay(): boolean;
  /** The enable of the rail is being switched: its signals tell nothing until that is over. */
  isSwitching(rail: string): boolean;
  /** What was begun and still waits for its turn is not switched any more. */
  abandon(): void;
  /** Resolves when what was begun is over. */
  end(): Promise<void>;
}

export interface DrivesOptions {
  readonly plan: Plan;
  readonly hardware: ChassisHardware;
  readonly clock: Clock;
  readonly recording: Recording;
  /** What is read of the rails that power what switches the rail. */
  readonly newsOfPower: (rail: string) => Promise<readonly SequenceEvent[]>;
  /** A lowering is over. It records what came of it itself only where it failed. */
  readonly ended: (action: LoweringAction, events: readonly SequenceEvent[]) => void;
}

/**
 * The power is gone already, and what feeds a short has to go off: that keeps the order where every bus answers, as it
 * does in 2 ms (three transfers of 5 bytes at most at 100 kHz) and on a BMC that has other work to do in some tens, and
 * waits for none that does not. Only time counts in which this process ran: one that stood still has not waited.
 */
const GRACE_MS = 50;
/** What a standstill takes of the grace at most. Each answer that came meanwhile asks for the next one after it. */
const GRACE_TURN_MS = 5;

export function createDrives({
  plan,
  hardware,
  clock,
  recording,
  newsOfPower,
  ended,
}: DrivesOptions): Drives {
  const enables = new Map<string, Promise<void>>();
  const resets = new Map<string, Promise<void>>();
  const abandoned = new AbortController();

  const carryOut = (action: DriveAction): Promise<SequenceEvent[]> =>
    attempt(action, { plan, hardware, clock, recording, newsOfPower, abandoned: abandoned.signal });

  /** What has to be over before this is begun: what the order wants, and an earlier drive of the same. */
  const before = (action: LoweringAction, atOnce: boolean): (Promise<void> | undefined)[] => {
    if (action.type === 'driveReset') return [resets.get(action.reset)];
    // After a loss in the order in which they are wanted, and by no more than the grace.
    if (atOnce) return [...enables.values()];
    const own = enables.get(action.rail);
    const rails = [...plan.rails, ...plan.absent];
    const rail = rails.find(({ name }) => name === action.rail);
    const first = rail === undefined ? [] : downBefore(rail);
    const hanging = hangingOn({ rails }, action.rail);
    const absent = plan.absent.flatMap(({ name }) =>
      name !== action.rail && hanging.has(name) ? [name] : [],
    );
    return [own, ...resets.values(), ...[...first, ...absent].map((rail) => enables.get(rail))];
  };

  return {
    carryOut,
    begin(action, atOnce) {
      const waits = before(action, atOnce).filter((wait) => wait !== undefined);
      const [under, name] = action.type === 'driveReset' ? [resets, action.reset] : [enables, action.rail];
      const run = async (): Promise<void> => {
        // However the others end: what is to go off goes off.
        const turn = Promise.allSettled(waits);
        await (atOnce ? inGrace(clock, turn) : turn);
        const events = abandoned.signal.aborted ? [] : await carryOut(action);
        if (under.get(name) === running) under.delete(name);
        ended(action, events);
      };
      const running = run();
      under.set(name, running);
    },
    isUnderWay: () => enables.size + resets.size > 0,
    isSwitching: (rail) => enables.has(rail),
    abandon: () => abandoned.abort(),
    async end() {
      await Promise.all([...enables.values(), ...resets.values()]);
    },
  };
}

async function inGrace(clock: Clock, work: Promise<unknown>): Promise<void> {
  for (let leftMs = GRACE_MS; leftMs > 0; leftMs -= GRACE_TURN_MS) {
    if (await endsWithin(clock, GRACE_TURN_MS, work)) return;
  }
}

interface AttemptOptions {
  readonly plan: Plan;
  readonly hardware: ChassisHardware;
  readonly clock: Clock;
  readonly recording: Recording;
  readonly newsOfPower: DrivesOptions['newsOfPower'];
  readonly abandoned: AbortSignal;
}

/** Carries out one action. Never rejects: also a mistake of a driver is a drive that failed, with the code INTERNAL. */
async function attempt(action: DriveAction, options: AttemptOptions): Promise<SequenceEvent[]> {
  const { hardware, clock, recording } = options;
  switch (action.type) {
    case 'driveEnable': {
      const { rail, asserted } = action;
      if (isAbsent(options.plan, rail)) return driveAbsentOff(rail, options);
      const failed = await switchEnable(action, options);
      // What went first is told first: a device that has just lost its power is not at fault.
      if (failed) return [...(await options.newsOfPower(rail)), { ...failed, atMs: clock.nowMs() }];
      recording.record({ type: 'enable', rail, asserted });
      return [{ type: 'DRIVEN', rail, asserted, atMs: clock.nowMs() }];
    }
    case 'driveReset': {
      const { reset, asserted } = action;
      const failed = await drive({ what: 'reset', reset }, asserted, `reset ${reset}`, options, () =>
        hardware.driveReset(reset, asserted),
      );
      if (failed) return [failed];
      recording.record({ type: 'reset', reset, asserted });
      return [];
    }
    case 'pulseLatch': {
      const failed = await drive({ what: 'latch' }, true, 'latch', options, () => hardware.pulseLatch());
      if (failed) return [failed];
      recording.record({ type: 'latch' });
      return [{ type: 'LATCHED', atMs: clock.nowMs() }];
    }
  }
}

/** The part of the rail is not there: its enable is driven off, and that is all. */
export function isAbsent({ absent }: Plan, rail: string): boolean {
  return absent.some(({ name }) => name === rail);
}

/** Nothing has its power from it, so one that cannot be driven is told and fails nothing. */
async function driveAbsentOff(
  rail: string,
  { hardware, recording }: AttemptOptions,
): Promise<SequenceEvent[]> {
  try {
    await hardware.driveEnable(rail, false);
    recording.record({ type: 'enable', rail, asserted: false });
  } catch (error) {
    const message = `${errorText(error)}: the part of rail ${rail} is absent, and the power-off goes on`;
    recording.record({ type: 'warning', message });
  }
  return [];
}

/** An enable that is to go off and whose device acknowledged nothing is driven once more: nobody else asks for it. */
async function switchEnable(
  { rail, asserted, press }: Extract<DriveAction, { readonly type: 'driveEnable' }>,
  options: AttemptOptions,
): Promise<DriveFailure | null> {
  const once = () =>
    drive({ what: 'enable', rail }, asserted, `enable of rail ${rail}`, options, () =>
      options.hardware.driveEnable(rail, asserted, press, options.abandoned),
    );
  const failed = await once();
  if (asserted || failed?.code !== 'I2C_NO_DEVICE') return failed;
  await pause(options.clock, ONCE_MORE_MS, options.abandoned);
  return options.abandoned.aborted ? failed : once();
}

type DriveFailure = Extract<SequenceEvent, { readonly type: 'DRIVE_FAILED' }>;

/** @param label what it is called in the record */
async function drive(
  what: Drive,
  asserted: boolean,
  label: string,
  { clock, recording }: AttemptOptions,
  work: () => Promise<void>,
): Promise<DriveFailure | null> {
  try {
    await work();
    return null;
  } catch (error) {
    const failure = { reason: errorText(error), code: codeOf(error) };
    recording.record({ type: 'driveFailed', what: label, ...failure });
    const readBack = wasReadBack(error);
    return { type: 'DRIVE_FAILED', drive: what, asserted, readBack, ...failure, atMs: clock.nowMs() };
  }
}

export function codeOf(error: unknown): string {
  return error instanceof CodedError ? error.code : 'INTERNAL';
}
