import { readFileSync } from 'node:fs';
import { errorText } from '../../hw/errors.ts';
import { type DbusSignal, FAILED, type IncomingCall, type Served } from './dbus/connection.ts';
import { assertSendable, misuse } from './dbus/values.ts';
import { DbusReplyError } from './errors.ts';
import { introspect } from './introspection.ts';
import type {
  DbusArgument,
  DbusVariant,
  Publication,
  ServedInterface,
  ServedMethod,
  ServedObject,
  ServedProperty,
} from './ports.ts';

/** What is published, as the messages of the bus see it. */
export interface Tree extends Served {
  /** What is answered to a call of what is not here, or with a signature that it does not have. */
  refuse(header: CallTarget): DbusReplyError | undefined;
  /** Answers a call, now or when the method has an answer; throws nothing. */
  answer(call: IncomingCall): void;
  /** InterfacesAdded of all objects. */
  announcements(): DbusSignal[];
  /** PropertiesChanged of one property, unless it emits nothing. */
  propertyChanged(path: string, interfaceName: string, property: string): DbusSignal | undefined;
  signal(path: string, interfaceName: string, name: string, args: readonly unknown[]): DbusSignal;
}

/** A path that answers: an object, an ObjectManager, or what lies on the way to one. */
interface TreeNode {
  readonly path: string;
  readonly object: ServedObject | undefined;
  readonly interfaces: ServedInterface[];
  /** Names of the nodes right below. */
  readonly children: Set<string>;
}

/** The objects of a publication, with the `org.freedesktop.DBus.*` interfaces that they have by themselves. */
export function createTree(publication: Publication): Tree {
  const { objects, managerPaths } = publication;
  const nodes = new Map<string, TreeNode>();

  /** What a caller is told of anything that was thrown. */
  const replyError = (error: unknown, member: string): DbusReplyError => {
    if (error instanceof DbusReplyError) return error;
    publication.onFailure?.(error, member);
    return new DbusReplyError(FAILED, errorText(error), { cause: error });
  };

  const read = (of: ServedInterface, name: string, property: ServedProperty): DbusVariant => {
    try {
      const variant = { signature: property.signature, value: property.read() };
      assertSendable('v', [variant]);
      return variant;
    } catch (error) {
      throw replyError(error, `${of.name}.${name}`);
    }
  };

  /** Values by name, without those that cannot be read: `onFailure` is told of these. */
  const readAll = (
    of: ServedInterface,
    names: readonly string[] = Object.keys(of.properties),
  ): Record<string, DbusVariant> =>
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

  const interfacesOf = (object: ServedObject) =>
    Object.fromEntries(object.interfaces.map((of) => [of.name, readAll(of)]));

  const objectsBelow = (path: string) =>
    objects.filter(
      (object) => object.path !== path && object.path.startsWith(path === '/' ? '/' : `${path}/`),
    );

  const introspectable = (node: TreeNode): ServedInterface => ({
    ...nothingOf('org.freedesktop.DBus.Introspectable'),
    methods: {
      Introspect: {
        in: [],
        out: [argument('xml_data', 's')],
        call: () => [introspect(node.interfaces, node.children)],
      },
    },
  });

  const properties = (served: readonly ServedInterface[]): ServedInterface => ({
    ...nothingOf(PROPERTIES),
    methods: {
      Get: {
        in: [argument('interface_name', 's'), argument('property_name', 's')],
        out: [argument('value', 'v')],
        call: ([interfaceName, name]) => {
          const [of, property] = findProperty(served, String(interfaceName), String(name));
          return [read(of, String(name), property)];
        },
      },
      Set: {
        in: [argument('interface_name', 's'), argument('property_name', 's'), argument('value', 'v')],
        out: [],
        call: async ([interfaceName, name, value]) => {
          const [of, property] = findProperty(served, String(interfaceName), String(name));
          await write(property, `${of.name}.${name}`, value as DbusVariant);
          return [];
        },
      },
      GetAll: {
        in: [argument('interface_name', 's')],
        out: [argument('props', 'a{sv}')],
        call: ([interfaceName]) => {
          const values = interfacesNamed(served, String(interfaceName)).map((of) => readAll(of));
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
  });

  const write = async (property: ServedProperty, member: string, { signature, value }: DbusVariant) => {
    if (property.write === undefined) throw dbusError('PropertyReadOnly', `${member} is read-only`);
    if (signature !== property.signature) {
      throw dbusError('InvalidArgs', `${member} is of type ${property.signature}, not ${signature}`);
    }
    try {
      await property.write(value);
    } catch (error) {
      throw replyError(error, member);
    }
  };

  const objectManager = (path: string): ServedInterface => ({
    ...nothingOf(OBJECT_MANAGER),
    methods: {
      GetManagedObjects: {
        in: [],
        out: [argument('object_paths_interfaces_and_properties', 'a{oa{sa{sv}}}')],
        call: () => [
          Object.fromEntries(objectsBelow(path).map((object) => [object.path, interfacesOf(object)])),
        ],
      },
    },
    signals: {
      InterfacesAdded: {
        args: [argument('object_path', 'o'), argument('interfaces_and_properties', 'a{sa{sv}}')],
      },
      InterfacesRemoved: { args: [argument('object_path', 'o'), argument('interfaces', 'as')] },
    },
  });

  const addNode = (path: string): TreeNode => {
    const known = nodes.get(path);
    if (known !== undefined) return known;
    const object = objects.find((one) => one.path === path);
    const node: TreeNode = { path, object, interfaces: [PEER], children: new Set() };
    nodes.set(path, node);
    node.interfaces.push(introspectable(node));
    if (object !== undefined) node.interfaces.push(properties(node.interfaces));
    if (managerPaths.includes(path)) node.interfaces.push(objectManager(path));
    node.interfaces.push(...(object?.interfaces ?? []));
    if (path !== '/') {
      const cut = path.lastIndexOf('/');
      addNode(path.slice(0, cut) || '/').children.add(path.slice(cut + 1));
    }
    return node;
  };
  for (const path of ['/', ...managerPaths, ...objects.map((object) => object.path)]) addNode(path);

  const servedInterface = (path: string, interfaceName: string): ServedInterface => {
    const found = nodes.get(path)?.object?.interfaces.find((of) => of.name === interfaceName);
    if (found === undefined) throw misuse(`no ${interfaceName} is served at ${path}`);
    return found;
  };

  return {
    refuse(header) {
      try {
        findMethod(nodes.get(header.path), header);
        return undefined;
      } catch (error) {
        return replyError(error, `${header.interface ?? ''}.${header.member}`);
      }
    },

    answer(call) {
      const fail = (error: unknown) => {
        const { dbusError: name, message } = replyError(error, `${call.interface ?? ''}.${call.member}`);
        call.fail(name, message);
      };
      try {
        const method = findMethod(nodes.get(call.path), call);
        const reply = (values: readonly unknown[]) => call.reply(signatureOf(method.out), values);
        const result = method.call(call.body, { sender: call.sender });
        // Not `await`: a value that was read must be on its way before the signal of the next one is.
        if (result instanceof Promise) result.then(reply).catch(fail);
        else reply(result);
      } catch (error) {
        fail(error);
      }
    },

    announcements: () =>
      managerPaths.flatMap((path) =>
        objectsBelow(path).map((object) => ({
          path,
          interface: OBJECT_MANAGER,
          member: 'InterfacesAdded',
          signature: 'oa{sa{sv}}',
          body: [object.path, interfacesOf(object)],
        })),
      ),

    propertyChanged(path, interfaceName, name) {
      const of = servedInterface(path, interfaceName);
      const property = member(of.properties, name);
      if (property === undefined) throw misuse(`${interfaceName} has no property ${name}`);
      if (property.emits === 'none') return undefined;
      const values = readAll(of, [name]);
      const invalidated = Object.hasOwn(values, name) ? [] : [name];
      return {
        path,
        interface: PROPERTIES,
        member: 'PropertiesChanged',
        signature: 'sa{sv}as',
        body: [interfaceName, values, invalidated],
      };
    },

    signal(path, interfaceName, name, args) {
      const signal = member(servedInterface(path, interfaceName).signals, name);
      if (signal === undefined) throw misuse(`${interfaceName} has no signal ${name}`);
      const signature = signatureOf(signal.args);
      assertSendable(signature, args);
      return { path, interface: interfaceName, member: name, signature, body: args };
    },
  };
}

const PROPERTIES = 'org.freedesktop.DBus.Properties';
const OBJECT_MANAGER = 'org.freedesktop.DBus.ObjectManager';

const nothingOf = (name: string): ServedInterface => ({ name, methods: {}, properties: {}, signals: {} });

const argument = (name: string, signature: string): DbusArgument => ({ name, signature });

const signatureOf = (args: readonly DbusArgument[]) => args.map(({ signature }) => signature).join('');

/** Of a record by member name; what every object has by itself is no member. */
const member = <T>(members: Readonly<Record<string, T>>, name: string): T | undefined =>
  Object.hasOwn(members, name) ? members[name] : undefined;

const PEER: ServedInterface = {
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
      // Told below, when there is none.
    }
  }
  throw dbusError('Failed', `this machine has no id in ${MACHINE_ID_FILES.join(' or ')}`);
}

/** A standard error (D-Bus specification and libdbus, `org.freedesktop.DBus.Error.*`). */
const dbusError = (kind: string, text: string) =>
  new DbusReplyError(`org.freedesktop.DBus.Error.${kind}`, text);

/** What a call names before its arguments. */
type CallTarget = Pick<IncomingCall, 'path' | 'member' | 'signature'> & {
  readonly interface?: string | undefined;
};

function findMethod(node: TreeNode | undefined, call: CallTarget): ServedMethod {
  // Peer is about the process, and answers at every path.
  const interfaces = (node?.interfaces ?? [PEER]).filter(
    ({ name }) => call.interface === undefined || name === call.interface,
  );
  const [method] = interfaces.flatMap(({ methods }) => member(methods, call.member) ?? []);
  if (method === undefined) {
    if (node === undefined) throw dbusError('UnknownObject', `there is no object ${call.path}`);
    if (interfaces.length === 0) {
      throw dbusError('UnknownInterface', `${call.path} has no interface ${call.interface}`);
    }
    throw dbusError('UnknownMethod', `${call.path} has no method ${call.interface ?? ''}.${call.member}`);
  }
  const expected = signatureOf(method.in);
  if (call.signature !== expected) {
    throw dbusError('InvalidArgs', `${call.member} takes "${expected}", not "${call.signature}"`);
  }
  return method;
}

/** All of them for the empty name, as the D-Bus specification leaves open for properties. */
function interfacesNamed(interfaces: readonly ServedInterface[], name: string): readonly ServedInterface[] {
  const named = interfaces.filter((one) => name === '' || one.name === name);
  if (named.length === 0) throw dbusError('UnknownInterface', `there is no interface ${name} here`);
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
  throw dbusError('UnknownProperty', `${interfaceName || 'this object'} has no property ${name}`);
}
