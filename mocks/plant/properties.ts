import type { PropertyRef } from '../../hw/ports.ts';
import { type Circuit, isShown } from './circuit.ts';

/** A property of the inventory that tells of a part. */
export interface PlantProperty {
  readonly ref: PropertyRef;
  /** What a reading that starts now comes to. */
  answer(): boolean | 'hangs';
}

export function propertyKey({ service, path, interface: name, property }: PropertyRef): string {
  return [service, path, name, property].join(' ');
}

/** The properties that the board names, by `propertyKey`. One that several chassis name tells of the part of the first. */
export function createProperties({ chassis }: Circuit): ReadonlyMap<string, PlantProperty> {
  const properties = new Map<string, PlantProperty>();
  for (const part of chassis.flatMap(({ parts }) => [...parts.values()])) {
    const { presence } = part.rails[0]?.board ?? {};
    if (presence === undefined || !('inventory' in presence)) continue;
    const { inventory: path, ...names } = presence;
    const ref = { path, ...names };
    const isHung = () => part.shownFaults.some(({ fault }) => fault.effect.does === 'hang');
    const key = propertyKey(ref);
    if (!properties.has(key))
      properties.set(key, { ref, answer: () => (isHung() ? 'hangs' : isShown(part)) });
  }
  return properties;
}
