import type { Clock } from '../../hw/ports.ts';
import type { Board, RailBoard } from '../../src/board/schema.ts';
import type { ArmedFaults, TransferAnswer } from './armed.ts';
import {
  type Circuit,
  delivers,
  isShown,
  isUnder,
  OPERATION_ON_BIT,
  operationOf,
  type Page,
  type Part,
  type PgoodSource,
  type Rail,
  withFaults,
} from './circuit.ts';
import type { DamageRules } from './damage.ts';
import { identityOf } from './identity.ts';
import { createPmbusDevice, type PmbusDevice, type PmbusOutput } from './pmbus-device.ts';
import type { DevicePower } from './power.ts';
import type { Rails } from './rails.ts';
import { seenVolts } from './sensors.ts';
import { settingOf, tell } from './settings.ts';
import type { Signals } from './signals.ts';

/** Share of the nominal voltage at which a device usually takes its output for overvolted. */
const OVER_SHARE = 1.15;

/** A device at its bus, for the mock backend. */
export interface PlantI2cDevice {
  readonly name: string;
  readonly address: number;
  readonly registers: PmbusDevice;
  /** Has a packet error check. */
  readonly pec: boolean;
  /** What happens to the transfer that starts now. Counts it. */
  nextTransfer(): TransferAnswer;
}

export interface PlantBus {
  readonly bus: number | string;
  readonly devices: ReadonlyMap<number, PlantI2cDevice>;
  /** Waits for the bus, in the order asked, and holds it until the returned function is called. */
  hold(): Promise<() => void>;
}

export interface BusOptions {
  readonly board: Board;
  readonly circuit: Circuit;
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly signals: Pick<Signals, 'writeOperation'>;
  readonly rules: Pick<DamageRules, 'railTold'>;
  /** A rail whose device was told something goes where that has it go. */
  readonly rails: Pick<Rails, 'update'>;
  readonly faults: Pick<ArmedFaults, 'transferOf' | 'isReplaced'>;
  readonly power: Pick<DevicePower, 'answers'>;
}

/** The devices of the board at their buses. */
export function createBuses(options: BusOptions): Map<number | string, PlantBus> {
  const { board, circuit, faults, power } = options;
  const buses = new Map<number | string, PlantBus & { readonly devices: Map<number, PlantI2cDevice> }>();
  for (const [name, { bus, address: text, pec, vout, vid, identity }] of Object.entries(board.devices)) {
    const address = Number(text);
    const device = circuit.devices.get(name);
    if (device === undefined) throw new RangeError(`the circuit has no device ${name}`);
    const known = buses.get(bus) ?? { bus, devices: new Map(), hold: createHold() };
    buses.set(bus, known);
    const registers = createPmbusDevice(
      { bus, address },
      outputsOf(name, options),
      { vout, vid },
      (command) => identityOf(identity, command, faults.isReplaced(name)),
    );
    let losses = 0;
    known.devices.set(address, {
      name,
      address,
      pec,
      registers,
      nextTransfer: () => {
        if (device.losses !== losses) registers.reset();
        losses = device.losses;
        const answer = faults.transferOf(device);
        return answer === 'answers' && !power.answers(device) ? 'nack' : answer;
      },
    });
  }
  for (const part of circuit.chassis.flatMap(({ parts }) => [...parts.values()])) addPresence(part, buses);
  return buses;
}

/** What answers for a part at an address that is of no device of the board, such as an EEPROM. */
function addPresence(
  part: Part,
  buses: Map<number | string, PlantBus & { readonly devices: Map<number, PlantI2cDevice> }>,
): void {
  const { presence } = part.rails[0]?.board ?? {};
  if (presence === undefined || !('bus' in presence)) return;
  const { bus } = presence;
  const address = Number(presence.address);
  const known = buses.get(bus) ?? { bus, devices: new Map(), hold: createHold() };
  buses.set(bus, known);
  if (known.devices.has(address)) return;
  known.devices.set(address, {
    name: `presence ${presence.address}`,
    address,
    pec: false,
    registers: createPmbusDevice({ bus, address }, new Map(), {}),
    nextTransfer: () => {
      if (part.shownFaults.some(({ fault }) => fault.effect.does === 'hang')) return 'hang';
      return isShown(part) ? 'answers' : 'nack';
    },
  });
}

/** By page. An output that is both shown and switched shows the rails whose good signal it is. */
function outputsOf(device: string, options: BusOptions): Map<number, PmbusOutput> {
  const { circuit } = options;
  const rails = circuit.chassis.flatMap((chassis) => chassis.rails);
  const used = rails.flatMap(({ board: { enable, good, setup } }) => [enable, good, setup]);
  const outputs = new Map<number, PmbusOutput>();
  for (const part of used) {
    if (part === undefined || !('pmbus' in part) || part.pmbus !== device || outputs.has(part.page)) continue;
    const { page } = part;
    const shown = rails.filter(({ board: { good } }) => isOutput(good, device, page));
    const switched = rails.filter(({ board: { enable } }) => isOutput(enable, device, page));
    const told = rails.filter(({ board: { setup } }) => isOutput(setup, device, page));
    const signal = circuit.pages.get(`pmbus:${device}/${page}`);
    const seen = [shown, switched, told].find((each) => each.length > 0) ?? [];
    outputs.set(page, { ...createOutput(signal, seen, options), ...settingsOf(told, options) });
  }
  for (const { pgoodSources } of circuit.chassis) {
    for (const source of pgoodSources) {
      const page = source.page?.device === device ? source.page : undefined;
      if (page !== undefined && !outputs.has(page.page)) {
        outputs.set(page.page, createPgoodOutput(source, page.nominalVolts));
      }
    }
  }
  // A device that only watches shows the whole chassis on page 0.
  if (outputs.size === 0) outputs.set(0, createOutput(undefined, watchedRails(device, options), options));
  return outputs;
}

/** The rails of the chassis that name the device as evidence, or else of all. */
function watchedRails(device: string, { board, circuit }: BusOptions): Rail[] {
  const naming = circuit.chassis.filter(({ number }) => board.chassis[number]?.evidence.includes(device));
  return (naming.length > 0 ? naming : circuit.chassis).flatMap(({ rails }) => rails);
}

/**
 * @param page the on bit that switches rails, where it does
 * @param rails that it shows; one that shows several is good when all are
 */
function createOutput(
  page: Page | undefined,
  rails: readonly Rail[],
  { clock, signals }: BusOptions,
): PmbusOutput {
  const good = () => rails.every((rail) => withFaults(rail.goodFaults, rail.good));
  /** The rail has its enable elsewhere; the register only keeps what was written. */
  let kept = OPERATION_ON_BIT;
  return {
    operation: () => (page === undefined ? kept : operationOf(page)),
    writeOperation: (value) => {
      if (page !== undefined) signals.writeOperation(page, value);
      else kept = value;
    },
    volts: () => {
      const [rail] = rails;
      if (rail === undefined) return 0;
      return seenVolts(rail, clock.nowMs());
    },
    goodVolts: () => rails[0]?.goodVolts ?? 0,
    mostVolts: () => OVER_SHARE * (rails[0]?.nominalVolts ?? 0),
    good,
    off: () => !rails.every((rail) => delivers(rail) && rail.tripped.size === 0),
    tripped: (cause) => rails.some((rail) => rail.tripped.has(cause)),
    undervoltage: () =>
      rails.some((rail) => rail.wasUnder) || (!good() && rails.some((rail) => isUnder(rail, clock.nowMs()))),
  };
}

/** The registers that the board has its device told; none of an output that is not set up. */
function settingsOf(
  [rail]: readonly Rail[],
  { rules, rails }: BusOptions,
): Pick<PmbusOutput, 'setting' | 'tell'> {
  const settings = rail?.settings;
  if (rail === undefined || settings === undefined) return {};
  return {
    setting: (command) => settingOf(settings, command),
    tell(command, raw) {
      if (!settings.wanted.has(command)) return false;
      rules.railTold(rail);
      tell(settings, command, raw);
      rails.update(rail);
      return true;
    },
  };
}

/** An output that shows pgood: it stands at its voltage while that is asserted. */
function createPgoodOutput(source: PgoodSource, nominalVolts: number): PmbusOutput {
  let kept = OPERATION_ON_BIT;
  return {
    operation: () => kept,
    writeOperation: (value) => {
      kept = value;
    },
    volts: () => (source.says() ? nominalVolts : 0),
    goodVolts: () => nominalVolts / OVER_SHARE,
    mostVolts: () => nominalVolts * OVER_SHARE,
    good: source.says,
    off: () => !source.says(),
    undervoltage: () => false,
    tripped: () => false,
  };
}

function isOutput(part: RailBoard['enable' | 'good' | 'setup'], device: string, page: number): boolean {
  return part !== undefined && 'pmbus' in part && part.pmbus === device && part.page === page;
}

/** Grants one holder after the other. */
function createHold(): PlantBus['hold'] {
  let last: Promise<void> = Promise.resolve();
  return async () => {
    const before = last;
    let release = (): void => undefined;
    last = new Promise((resolve) => {
      release = resolve;
    });
    await before;
    return release;
  };
}
