import type { PropertyBackend, PropertyRef } from '../../hw/ports.ts';
import { isInterfaceName, isMemberName, isObjectPath, isWellKnownName } from '../../src/dbus-names.ts';
import { SystemError } from '../../src/system/errors.ts';
import type { Plant } from '../plant/plant.ts';
import { propertyKey } from '../plant/properties.ts';
import { reportMisuse } from './misuse.ts';

/** After so long at most a change is told. */
const SIGNAL_MS = 5;

/**
 * The properties of a plant. Stricter than a bus: a name that no board file can have rejects and is kept in `plant.misuses`.
 * Every call gives up the turn at least once. What a bus does too rejects in the words of the reader.
 */
export function createMockProperties(plant: Plant): PropertyBackend {
  return {
    async readBoolean(ref, limitMs) {
      await Promise.resolve();
      if (!isRef(ref) || !(limitMs > 0))
        throw reportMisuse(plant, `${JSON.stringify(ref)} is no property to be read within ${limitMs} ms`);
      const found = plant.properties.get(propertyKey(ref));
      if (found === undefined) {
        const names = [...plant.properties.values()].map((each) => each.ref.service);
        throw names.includes(ref.service)
          ? failed('SYSTEMD_FAILED', ref, 'UnknownObject')
          : failed('DBUS_UNAVAILABLE', ref, 'ServiceUnknown');
      }
      const answer = found.answer();
      if (answer !== 'hangs') return answer;
      await new Promise<void>((resolve) => {
        plant.clock.after(limitMs, resolve);
      });
      const text = `Get of ${ref.service} did not answer within ${limitMs} ms`;
      throw new SystemError('DBUS_TIMEOUT', text, { timeoutMs: limitMs });
    },

    watch(ref, wake) {
      if (!isRef(ref)) throw reportMisuse(plant, `${JSON.stringify(ref)} is no property`);
      const answer = () => plant.properties.get(propertyKey(ref))?.answer();
      let last = answer();
      const cancelFirst = plant.clock.after(0, wake);
      let cancel = cancelFirst;
      const look = (): void => {
        cancel = plant.clock.after(SIGNAL_MS, look);
        if (answer() === last) return;
        last = answer();
        if (last !== 'hangs') wake();
      };
      look();
      return () => {
        cancelFirst();
        cancel();
      };
    },
  };
}

function failed(
  code: 'SYSTEMD_FAILED' | 'DBUS_UNAVAILABLE',
  { service }: PropertyRef,
  name: string,
): SystemError {
  const dbusError = `org.freedesktop.DBus.Error.${name}`;
  return new SystemError(code, `Get of ${service} failed (${dbusError})`, {
    destination: service,
    member: 'Get',
    dbusError,
  });
}

function isRef({ service, path, interface: name, property }: PropertyRef): boolean {
  return isWellKnownName(service) && isObjectPath(path) && isInterfaceName(name) && isMemberName(property);
}
