import type { DbusSignal, IncomingCall, Served } from './dbus/connection.ts';
import { assertSendable, misuse } from './dbus/values.ts';
import { type DbusReplyError, standardError } from './errors.ts';
import type { DbusArgument, Publication, ServedInterface, ServedMethod, ServedObject } from './ports.ts';
import {
  createPropertyAccess,
  introspectable,
  member,
  OBJECT_MANAGER,
  objectManager,
  PEER,
  PROPERTIES,
  type PropertyAccess,
  properties,
} from './standard-interfaces.ts';

/** The published objects, for the messages of the bus. */
export interface Tree extends Served {
  /** The error for a call of something that is not published, or with another signature; undefined for any other call. */
  refuse(header: CallTarget): DbusReplyError | undefined;
  /** Answers a call, at once or when the method has an answer. Throws nothing. */
  answer(call: IncomingCall): void;
  /** InterfacesAdded of all objects. */
  announcements(): DbusSignal[];
  /** PropertiesChanged of one property, unless it emits nothing. */
  propertyChanged(path: string, interfaceName: string, property: string): DbusSignal | undefined;
  signal(path: string, interfaceName: string, name: string, args: readonly unknown[]): DbusSignal;
}

/** A path that answers calls: an object, an ObjectManager, or a path that leads to one. */
interface TreeNode {
  readonly path: string;
  readonly object: ServedObject | undefined;
  readonly interfaces: ServedInterface[];
  /** Names of the nodes right below. */
  readonly children: Set<string>;
}

/** The objects of a publication, with the `org.freedesktop.DBus.*` interfaces that each of them has. */
export function createTree(publication: Publication): Tree {
  const { objects, managerPaths } = publication;
  const access = createPropertyAccess(publication);
  const nodes = createNodes(publication, access);

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
        return access.replyError(error, `${header.interface ?? ''}.${header.member}`);
      }
    },

    answer(call) {
      const fail = (error: unknown) => {
        const name = `${call.interface ?? ''}.${call.member}`;
        const { dbusError, message } = access.replyError(error, name);
        call.fail(dbusError, message);
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
        objectsBelow(path, objects).map((object) => ({
          path,
          interface: OBJECT_MANAGER,
          member: 'InterfacesAdded',
          signature: 'oa{sa{sv}}',
          body: [object.path, access.interfacesOf(object)],
        })),
      ),

    propertyChanged(path, interfaceName, name) {
      const of = servedInterface(path, interfaceName);
      const property = member(of.properties, name);
      if (property === undefined) throw misuse(`${interfaceName} has no property ${name}`);
      if (property.emits === 'none') return undefined;
      const values = access.readAll(of, [name]);
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

/** All paths that answer calls. */
function createNodes(
  { objects, managerPaths }: Publication,
  access: PropertyAccess,
): ReadonlyMap<string, TreeNode> {
  const nodes = new Map<string, TreeNode>();
  const addNode = (path: string): TreeNode => {
    const known = nodes.get(path);
    if (known !== undefined) return known;
    const object = objects.find((one) => one.path === path);
    const node: TreeNode = { path, object, interfaces: [PEER], children: new Set() };
    nodes.set(path, node);
    node.interfaces.push(introspectable(node.interfaces, node.children));
    if (object !== undefined) node.interfaces.push(properties(node.interfaces, access));
    if (managerPaths.includes(path)) {
      node.interfaces.push(objectManager(objectsBelow(path, objects), access));
    }
    node.interfaces.push(...(object?.interfaces ?? []));
    if (path !== '/') {
      const cut = path.lastIndexOf('/');
      addNode(path.slice(0, cut) || '/').children.add(path.slice(cut + 1));
    }
    return node;
  };
  for (const path of ['/', ...managerPaths, ...objects.map((object) => object.path)]) addNode(path);
  return nodes;
}

function objectsBelow(path: string, objects: readonly ServedObject[]): readonly ServedObject[] {
  return objects.filter(
    (object) => object.path !== path && object.path.startsWith(path === '/' ? '/' : `${path}/`),
  );
}

const signatureOf = (args: readonly DbusArgument[]) => args.map(({ signature }) => signature).join('');

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
    if (node === undefined) throw standardError('UnknownObject', `there is no object ${call.path}`);
    if (interfaces.length === 0) {
      throw standardError('UnknownInterface', `${call.path} has no interface ${call.interface}`);
    }
    throw standardError('UnknownMethod', `${call.path} has no method ${call.interface ?? ''}.${call.member}`);
  }
  const expected = signatureOf(method.in);
  if (call.signature !== expected) {
    throw standardError('InvalidArgs', `${call.member} takes "${expected}", not "${call.signature}"`);
  }
  return method;
}
