import { createMemoryDisk } from '../../mocks/disk.ts';
import type { World } from '../../src/cli/world.ts';
import { SystemError } from '../../src/system/errors.ts';
import { flock } from './flock.ts';

/** A world without a bus whose words are kept; nobody asks to end. */
export function createVerbWorld(
  parts: Pick<World, 'clock' | 'gpio' | 'i2c'> & Partial<World>,
  dir: string,
): { readonly world: World; readonly printed: () => { stdout: string; stderr: string } } {
  const words = { stdout: '', stderr: '' };
  const outputTo = (name: keyof typeof words) => ({
    write: (text: string) => {
      words[name] += text;
    },
    columns: null,
    journal: false,
  });
  const noBus = () => Promise.reject(new SystemError('DBUS_UNAVAILABLE', 'there is no bus'));
  const { signal } = new AbortController();
  const world: World = {
    flock,
    looks: parts.gpio,
    units: noBus,
    objectBus: noBus,
    sensors: () => Promise.reject(new RangeError('nothing here is seen by a voltage')),
    properties: () => Promise.reject(new RangeError('nothing here is told by a property')),
    eventLog: noBus,
    notifier: noBus,
    journal: noBus,
    updateCatalogue: noBus,
    bootId: () => 'boot',
    picture: async () => null,
    build: () => 'build',
    env: {},
    stdout: outputTo('stdout'),
    stderr: outputTo('stderr'),
    signal,
    abandon: signal,
    onHangup: () => () => undefined,
    systemd: 'absent',
    defaultRunDir: dir,
    stateDir: dir,
    disk: async () => createMemoryDisk(),
    caller: () => 'somebody',
    background: () => undefined,
    openbmcRunDir: dir,
    unitSourceDir: dir,
    programName: 'chassis-power',
    ...parts,
  };
  return { world, printed: () => ({ ...words }) };
}
