import type { SetupBoard } from '../../src/board/setup.ts';
import type { Settings } from './circuit.ts';
import { type PmbusFormats, registerOf } from './pmbus-device.ts';

/** PMBus specification 1.3.1 part II, table 31. */
const COMMANDS = {
  VOUT_COMMAND: 0x21,
  VOUT_MAX: 0x24,
  VOUT_OV_FAULT_LIMIT: 0x40,
  VOUT_OV_WARN_LIMIT: 0x42,
  VOUT_UV_WARN_LIMIT: 0x43,
  VOUT_UV_FAULT_LIMIT: 0x44,
  POWER_GOOD_ON: 0x5e,
  POWER_GOOD_OFF: 0x5f,
} as const;

/** Share of its voltage that an output has whose device was not told it. */
export const UNTOLD_SHARE = 0.5;

/** Two roundings of one voltage are this far apart at most. */
const ROUNDING = 1;

/** @param isOn it was told everything before the rail came up */
export function createSettings({ writes }: SetupBoard, formats: PmbusFormats, isOn: boolean): Settings {
  const wanted = new Map(writes.map(({ command, volts }) => [COMMANDS[command], registerOf(volts, formats)]));
  return { wanted, written: new Map(isOn ? wanted : []), faults: [] };
}

/** What the register reads; undefined for one that the board has nothing told. */
export function settingOf({ wanted, written }: Settings, command: number): number | undefined {
  const raw = wanted.get(command);
  return raw === undefined ? undefined : (written.get(command) ?? halved(raw));
}

/** The device takes what it is told, as its faults have it. */
export function tell({ written, faults }: Settings, command: number, raw: number): void {
  const does = faults.map(({ fault }) => fault.effect.does);
  if (does.includes('ignored')) return;
  written.set(command, does.includes('altered') ? halved(raw) : raw);
}

/** Registers that hold something else than the board has them told. */
export function untoldOf({ wanted, written }: Settings): string[] {
  return [...wanted].flatMap(([command, raw]) =>
    isAbout(written.get(command), raw) ? [] : [`0x${command.toString(16)}`],
  );
}

/** It has the voltage that it is to have, where the board has it told one. */
export function isTold({ wanted, written }: Settings): boolean {
  const raw = wanted.get(COMMANDS.VOUT_COMMAND);
  return raw === undefined || isAbout(written.get(COMMANDS.VOUT_COMMAND), raw);
}

function isAbout(raw: number | undefined, wanted: number): boolean {
  return raw !== undefined && Math.abs(raw - wanted) <= ROUNDING;
}

function halved(raw: number): number {
  return raw >> 1;
}
