import type { PropertyRef } from '../../hw/ports.ts';
import { sourcesOf } from '../../src/board/pgood-sources.ts';
import type { Board } from '../../src/board/schema.ts';
import { type Circuit, isShown } from './circuit.ts';

/** A property on D-Bus that tells of a part, or of pgood. */
export interface PlantProperty {
  readonly ref: PropertyRef;
  /** What a reading that starts now comes to. */
  answer(): boolean | 'hangs';
}

export function propertyKey({ service, path, interface: name, property }: PropertyRef): string {
  return [service, path, name, property].join(' ');
}

/** The properties that the board names, by `propertyKey`. One that several chassis name tells of the first. */
export function createProperties(board: Board, { chassis }: Circuit): ReadonlyMap<string, PlantProperty> {
  const properties = new Map<string, PlantProperty>();
  const add = (ref: PropertyRef, answer: PlantProperty['answer']): void => {
    const key = propertyKey(ref);
    if (!properties.has(key)) properties.set(key, { ref, answer });
  };
  for (const part of chassis.flatMap(({ parts }) => [...parts.values()])) {
    const { presence } = part.rails[0]?.board ?? {};
    if (presence === undefined || !('inventory' in presence)) continue;
    const { inventory: path, ...names } = presence;
    const isHung = () => part.shownFaults.some(({ fault }) => fault.effect.does === 'hang');
    add({ path, ...names }, () => (isHung() ? 'hangs' : isShown(part)));
  }
  for (const { number, pgoodSources } of chassis) {
    const { pgood } = board.chassis[number] ?? {};
    for (const [index, { source }] of (pgood === undefined ? [] : sourcesOf(pgood)).entries()) {
      if (!('dbus' in source)) continue;
      const { dbus: path, service, interface: name, property } = source;
      add({ service, path, interface: name, property }, () => pgoodSources[index]?.says() ?? false);
    }
  }
  return properties;
}
