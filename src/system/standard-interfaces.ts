import { readFileSync } from 'node:fs';
import { errorText } from '../../hw/errors.ts';
import { FAILED } from './dbus/connection.ts';
import { assertSendable } from './dbus/values.ts';
import { DbusReplyError, standardError } from './errors.ts';
import { introspect } from './introspection.ts';
import type {
  DbusArgument,
  DbusVariant,
  Publication,
  ServedInterface,
  ServedObject,
  ServedProperty,
} from './ports.ts';

/* The `org.freedesktop.DBus.*` interfaces of served objects (D-Bus specification, "Standard Interfaces"). */

export const PROPERTIES = 'org.freedesktop.DBus.Properties';
export const OBJECT_MANAGER = 'org.freedesktop.DBus.ObjectManager';

const nothingOf = (name: string): ServedInterface => ({ name, methods: {}, properties: {}, signals: {} });

const argument = (name: string, signature: string): DbusArgument => ({ name, signature });

/** A member by its name. A name that every JavaScript object has is no member. */
export const member = <T>(members: Readonly<Record<string, T>>, name: string): T | undefined =>
  Object.hasOwn(members, name) ? members[name] : undefined;

/** Properties as callers get them. */
export interface PropertyAccess {
  /** The error that a caller gets for anything that was thrown; `onFailure` is told of what is not meant for callers. */
  replyError(error: unknown, member: string): DbusReplyError;
  /** @throws DbusReplyError */
  read(of: ServedInterface, name: string, property: ServedProperty): DbusVariant;
  /** Values by name, without those that cannot be read; `onFailure` is told of these. */
  readAll(of: ServedInterface, names?: readonly string[]): Record<string, DbusVariant>;
  /** The properties of all interfaces of an object. */
  interfacesOf(object: ServedObject): Record<string, Record<string, DbusVariant>>;
  /** Rejects with a DbusReplyError. */
  write(property: ServedProperty, member: string, variant: DbusVariant): Promise<void>;
}

export function createPropertyAccess(publication: Pick<Publication, 'onFailure'>): PropertyAccess {
  const replyError: PropertyAccess['replyError'] = (error, name) => {
    if (error instanceof DbusReplyError) return error;
    publication.onFailure?.(error, name);
    return new DbusReplyError(FAILED, errorText(error), { cause: error });
  };

  const read: PropertyAccess['read'] = (of, name, property) => {
    try {
      const variant = { signature: property.signature, value: property.read() };
      assertSendable('v', [variant]);
      return variant;
    } catch (error) {
      throw replyError(error, `${of.name}.${name}`);
    }
  };

  const readAll: PropertyAccess['readAll'] = (of, names = Object.keys(of.properties)) =>
    Object.fromEntries(
      names.flatMap((name) => {
        const property = member(of.properties, name);
        try {
          return property === undefined ? [] : [[name, read(of, name, property)]];
        } catch {
          return [];
        }
      }),
    );

  return {
    replyError,
    read,
    readAll,
    interfacesOf: (object) => Object.fromEntries(object.interfaces.map((of) => [of.name, readAll(of)])),

    async write(property, name, { signature, value }) {
      if (property.write === undefined) throw standardError('PropertyReadOnly', `${name} is read-only`);
      if (signature !== property.signature) {
        throw standardError('InvalidArgs', `${name} is of type ${property.signature}, not ${signature}`);
      }
      try {
        await property.write(value);
      } catch (error) {
        throw replyError(error, name);
      }
    },
  };
}

/** `served` are the interfaces of the object, those of this file included. */
export function introspectable(
  served: readonly ServedInterface[],
  children: Iterable<string>,
): ServedInterface {
  return {
    ...nothingOf('org.freedesktop.DBus.Introspectable'),
    methods: {
      Introspect: {
        in: [],
        out: [argument('xml_data', 's')],
        call: () => [introspect(served, children)],
      },
    },
  };
}

/** `served` are the interfaces of the object, those of this file included. */
export function properties(served: readonly ServedInterface[], access: PropertyAccess): ServedInterface {
  return {
    ...nothingOf(PROPERTIES),
    methods: {
      Get: {
        in: [argument('interface_name', 's'), argument('property_name', 's')],
        out: [argument('value', 'v')],
        call: ([interfaceName, name]) => {
          const [of, property] = findProperty(served, String(interfaceName), String(name));
          return [access.read(of, String(name), property)];
        },
      },
      Set: {
        in: [argument('interface_name', 's'), argument('property_name', 's'), argument('value', 'v')],
        out: [],
        call: async ([interfaceName, name, value]) => {
          const [of, property] = findProperty(served, String(interfaceName), String(name));
          await access.write(property, `${of.name}.${name}`, value as DbusVariant);
          return [];
        },
      },
      GetAll: {
        in: [argument('interface_name', 's')],
        out: [argument('props', 'a{sv}')],
        call: ([interfaceName]) => {
          const values = interfacesNamed(served, String(interfaceName)).map((of) => access.readAll(of));
          // The first interface wins a name, as it does in Get.
          return [Object.assign({}, ...values.reverse())];
        },
      },
    },
    signals: {
      PropertiesChanged: {
        args: [
          argument('interface_name', 's'),
          argument('changed_properties', 'a{sv}'),
          argument('invalidated_properties', 'as'),
        ],
      },
    },
  };
}

/** @param objects those below the manager's path */
export function objectManager(objects: readonly ServedObject[], access: PropertyAccess): ServedInterface {
  return {
    ...nothingOf(OBJECT_MANAGER),
    methods: {
      GetManagedObjects: {
        in: [],
        out: [argument('object_paths_interfaces_and_properties', 'a{oa{sa{sv}}}')],
        call: () => [Object.fromEntries(objects.map((object) => [object.path, access.interfacesOf(object)]))],
      },
    },
    signals: {
      InterfacesAdded: {
        args: [argument('object_path', 'o'), argument('interfaces_and_properties', 'a{sa{sv}}')],
      },
      InterfacesRemoved: { args: [argument('object_path', 'o'), argument('interfaces', 'as')] },
    },
  };
}

export const PEER: ServedInterface = {
  ...nothingOf('org.freedesktop.DBus.Peer'),
  methods: {
    Ping: { in: [], out: [], call: () => [] },
    GetMachineId: { in: [], out: [argument('machine_uuid', 's')], call: () => [machineId()] },
  },
};

/** machine-id(5), and where D-Bus has it on a machine without systemd. */
const MACHINE_ID_FILES = ['/etc/machine-id', '/var/lib/dbus/machine-id'];

function machineId(): string {
  for (const file of MACHINE_ID_FILES) {
    try {
      const id = readFileSync(file, 'utf8').trim();
      if (/^[0-9a-f]{32}$/.test(id)) return id;
    } catch {
      // The next file may have it.
    }
  }
  throw standardError('Failed', `this machine has no id in ${MACHINE_ID_FILES.join(' or ')}`);
}

/** All of them for the empty name, as the D-Bus specification leaves open for properties. */
function interfacesNamed(interfaces: readonly ServedInterface[], name: string): readonly ServedInterface[] {
  const named = interfaces.filter((one) => name === '' || one.name === name);
  if (named.length === 0) throw standardError('UnknownInterface', `there is no interface ${name} here`);
  return named;
}

function findProperty(
  interfaces: readonly ServedInterface[],
  interfaceName: string,
  name: string,
): readonly [ServedInterface, ServedProperty] {
  for (const of of interfacesNamed(interfaces, interfaceName)) {
    const property = member(of.properties, name);
    if (property !== undefined) return [of, property];
  }
  throw standardError('UnknownProperty', `${interfaceName || 'this object'} has no property ${name}`);
}
