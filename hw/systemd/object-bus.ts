import { readFileSync } from 'node:fs';
import { DbusReplyError, errorText, HardwareError } from '../errors.ts';
import type {
  DbusArgument,
  DbusVariant,
  ObjectBus,
  Publication,
  ServedInterface,
  ServedMethod,
  ServedObject,
  ServedProperty,
} from '../ports.ts';
import {
  BUS,
  connectDbus,
  type DbusConnection,
  type DbusOptions,
  type DbusSignal,
  FAILED,
  type IncomingCall,
} from './dbus.ts';
import {
  assertSendable,
  isInterfaceName,
  isMemberName,
  isObjectPath,
  isSingleSignature,
  isWellKnownName,
  misuse,
} from './dbus-values.ts';

export interface ObjectBusOptions extends DbusOptions, Publication {}

/** A bus that was only restarted is back by then. */
const FIRST_RETRY_MS = 100;
/** Somewhat arbitrary: each further wait is twice as long, up to this. */
const LAST_RETRY_MS = 5_000;

/** Argument and results of RequestName (D-Bus specification, "org.freedesktop.DBus.RequestName"). */
const DO_NOT_QUEUE = 4;
const PRIMARY_OWNER = 1;
const ALREADY_OWNER = 4;

/**
 * Objects on the system bus (`ObjectBus`). Connects with `start`.
 * @throws HardwareError DBUS_MISUSE for objects that cannot be on a bus, such as a path that is none
 */
export function createObjectBus(options: ObjectBusOptions): ObjectBus {
  const { clock, names } = options;
  assertPublishable(options);
  const tree = createTree(options);
  const leaving = new AbortController();
  let connection: DbusConnection | undefined;
  let isConnected = false;
  let downCode: string | undefined;
  let started: Promise<void> | undefined;
  let opening: Promise<void> | undefined;
  let cancelRetry: () => void = () => undefined;

  /** Leaves nothing on the bus when it rejects. */
  const open = async (): Promise<void> => {
    const opened = await connectDbus({ ...options, onCall: tree.answer, signal: leaving.signal });
    connection = opened;
    try {
      for (const name of names) await ownName(opened, name);
      if (leaving.signal.aborted) throw wasClosed();
    } catch (error) {
      connection = undefined;
      await opened.close();
      throw error;
    }
    for (const signal of tree.announcements()) opened.signal(signal);
    isConnected = true;
    downCode = undefined;
    options.onConnection?.(true);
    opened.onLost((error) => onLost(opened, error));
  };

  const onLost = (lost: DbusConnection, error: HardwareError) => {
    isConnected = false;
    // Here `close` is at work, which lets out what was sent before.
    if (leaving.signal.aborted) return;
    connection = undefined;
    lost.close();
    retryAfter(FIRST_RETRY_MS);
    tellDown(error);
  };

  const retryAfter = (delayMs: number) => {
    cancelRetry = clock.after(delayMs, () => {
      opening = open().catch((error: unknown) => {
        if (leaving.signal.aborted) return;
        retryAfter(Math.min(2 * delayMs, LAST_RETRY_MS));
        tellDown(asHardwareError(error));
      });
    });
  };

  /** Who is told may `close`, so the next try must be planned before. */
  const tellDown = (error: HardwareError) => {
    if (error.code === downCode) return;
    downCode = error.code;
    options.onConnection?.(false, error);
  };

  return {
    start() {
      if (leaving.signal.aborted) return Promise.reject(wasClosed());
      started ??= open().catch((error: unknown) => {
        started = undefined;
        throw error;
      });
      opening = started;
      return started;
    },

    get isConnected() {
      return isConnected;
    },

    changed(path, interfaceName, property) {
      const signal = tree.propertyChanged(path, interfaceName, property);
      if (signal !== undefined) connection?.signal(signal);
    },

    emit(path, interfaceName, signal, args) {
      const message = tree.signal(path, interfaceName, signal, args);
      connection?.signal(message);
    },

    async close() {
      leaving.abort();
      cancelRetry();
      isConnected = false;
      await connection?.close();
      await opening?.catch(() => undefined);
    },
  };
}

const wasClosed = () => new HardwareError('DBUS_UNAVAILABLE', 'the object bus was closed');

const asHardwareError = (error: unknown) =>
  error instanceof HardwareError
    ? error
    : new HardwareError('DBUS_UNAVAILABLE', errorText(error), {}, { cause: error });

async function ownName(connection: DbusConnection, name: string): Promise<void> {
  const request = { ...BUS, member: 'RequestName', signature: 'su', body: [name, DO_NOT_QUEUE] };
  const [result] = await connection.call(request).catch((error: unknown) => {
    if (!(error instanceof HardwareError) || error.details.dbusError === undefined) throw error;
    throw new HardwareError(
      'DBUS_NAME_DENIED',
      `the bus does not let this process own ${name} (${error.message}): install the D-Bus policy that allows it`,
      { name, dbusError: error.details.dbusError },
      { cause: error },
    );
  });
  if (result === PRIMARY_OWNER || result === ALREADY_OWNER) return;
  const pid = await processThatOwns(connection, name);
  throw new HardwareError(
    'DBUS_NAME_TAKEN',
    `another process${pid === undefined ? '' : ` (pid ${pid})`} owns ${name} on the bus: end it, or the service that runs it`,
    { name, pid },
  );
}

async function processThatOwns(connection: DbusConnection, name: string): Promise<number | undefined> {
  const request = { ...BUS, member: 'GetConnectionUnixProcessID', signature: 's', body: [name] };
  try {
    const [pid] = await connection.call(request);
    return Number(pid);
  } catch {
    // It is for the message only, and the owner may just have gone.
    return undefined;
  }
}

/** What is published, as the messages of the bus see it. */
interface Tree {
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

function createTree(publication: Publication): Tree {
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
      Introspect: { in: [], out: [argument('xml_data', 's')], call: () => [introspect(node)] },
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

function findMethod(node: TreeNode | undefined, call: IncomingCall): ServedMethod {
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

const DOCTYPE =
  '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">';

function introspect({ interfaces, children }: TreeNode): string {
  return [
    DOCTYPE,
    element('node', {}, [
      ...interfaces.map(describeInterface),
      ...[...children].map((name) => element('node', { name })),
    ]),
    '',
  ].join('\n');
}

function describeInterface({ name, methods, properties, signals }: ServedInterface): string {
  const argumentsOf = (args: readonly DbusArgument[], direction?: string) =>
    args.map(({ name, signature: type }) => element('arg', { name, type, direction }));
  return element('interface', { name }, [
    ...Object.entries(methods).map(([name, method]) =>
      element('method', { name }, [...argumentsOf(method.in, 'in'), ...argumentsOf(method.out, 'out')]),
    ),
    ...Object.entries(signals).map(([name, { args }]) => element('signal', { name }, argumentsOf(args))),
    ...Object.entries(properties).map(([name, { signature: type, write, emits }]) =>
      element('property', { name, type, access: write === undefined ? 'read' : 'readwrite' }, [
        element('annotation', {
          name: 'org.freedesktop.DBus.Property.EmitsChangedSignal',
          value: emits === 'change' ? 'true' : 'false',
        }),
      ]),
    ),
  ]);
}

/** @param attributes those without a value are left out */
function element(
  name: string,
  attributes: Readonly<Record<string, string | undefined>>,
  content: readonly string[] = [],
): string {
  const written = Object.entries(attributes).flatMap(([key, value]) =>
    value === undefined ? [] : [` ${key}="${escapeXml(value)}"`],
  );
  const start = `<${name}${written.join('')}`;
  if (content.length === 0) return `${start}/>`;
  const indented = content.map((text) => text.replaceAll(/^/gm, '  '));
  return [`${start}>`, ...indented, `</${name}>`].join('\n');
}

const XML_ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&apos;',
};

const escapeXml = (text: string) => text.replaceAll(/[&<>"']/g, (character) => XML_ENTITIES[character] ?? '');

/** @throws HardwareError DBUS_MISUSE for what the bus or its clients would not take */
function assertPublishable({ names, managerPaths, objects }: Publication): void {
  const problems = [
    ...names.filter((name) => !isWellKnownName(name)).map((name) => `${name} is no name on a bus`),
    ...managerPaths.filter((path) => !isObjectPath(path)).map((path) => `${path} is no object path`),
    ...repeated(objects.map(({ path }) => path)).map((path) => `${path} is there twice`),
    ...objects.flatMap(problemsOfObject),
  ];
  if (problems.length > 0) throw misuse(`this cannot be published: ${problems.join('; ')}`);
}

const repeated = (texts: readonly string[]) => texts.filter((text, index) => texts.indexOf(text) < index);

function problemsOfObject({ path, interfaces }: ServedObject): string[] {
  return [
    ...(isObjectPath(path) ? [] : [`${path} is no object path`]),
    ...repeated(interfaces.map(({ name }) => name)).map((name) => `${path} has ${name} twice`),
    ...interfaces.flatMap(problemsOfInterface),
  ];
}

function problemsOfInterface({ name, methods, properties, signals }: ServedInterface): string[] {
  const members = [methods, properties, signals].flatMap((one) => Object.keys(one));
  const typed = [
    ...Object.values(methods).flatMap((method) => [...method.in, ...method.out]),
    ...Object.values(signals).flatMap(({ args }) => args),
    ...Object.entries(properties).map(([property, { signature }]) => argument(property, signature)),
  ];
  return [
    ...(isInterfaceName(name) ? [] : [`${name} is no name of an interface`]),
    ...(name.startsWith('org.freedesktop.DBus.') ? [`${name} is there by itself`] : []),
    ...members.filter((one) => !isMemberName(one)).map((one) => `${name}.${one} is no name of a member`),
    ...typed
      .filter(({ signature }) => !isSingleSignature(signature))
      .map(
        (one) =>
          `${one.name} of ${name} has the signature "${one.signature}", which is not that of one value`,
      ),
  ];
}
