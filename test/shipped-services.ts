import { readFileSync } from 'node:fs';
import { basename, join, posix, relative } from 'node:path';
import { sourceItems, UNIT_DIR } from '../src/units/install/items.ts';

export const UNIT_SOURCE = join(import.meta.dirname, '..', 'systemd');

/** Settings of `systemd/sandbox.conf`, which is in every unit that runs the program. */
export const SANDBOX = readFileSync(join(UNIT_SOURCE, 'sandbox.conf'), 'utf8');

export interface ShippedService {
  /** Of its source, below `systemd/`. */
  readonly path: string;
  readonly name: string;
  /** As an install puts it in place. */
  readonly text: string;
}

/** Every service unit that ships, those for one kind of image included. */
export async function shippedServices(): Promise<ShippedService[]> {
  const kinds = (['legacy', 'current'] as const).map((flavour) =>
    sourceItems({ flavour, chassis: [0], sourceDir: UNIT_SOURCE }),
  );
  const services = (await Promise.all(kinds))
    .flat()
    .filter(({ path }) => posix.dirname(path) === UNIT_DIR && path.endsWith('.service'))
    .map(({ source, content }) => ({
      path: relative(UNIT_SOURCE, source),
      name: basename(source),
      text: content.toString(),
    }));
  return [...new Map(services.map((service) => [service.path, service])).values()];
}
