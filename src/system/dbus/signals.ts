import { isDbusError, SystemError } from '../errors.ts';
import type { Inbox } from './inbox.ts';

/** The signals to receive. `sender` may be a well-known name: signals of its present owner count. */
export interface DbusSignalRule {
  readonly sender: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature: string;
}

export interface Signals {
  /** Resolves when the owner of a name is known, and follows its changes. Rejects with the error of the bus. */
  follow(name: string): Promise<void>;
  /** The owner of a name that is followed; the bus and unique names own themselves. */
  ownerOf(name: string): string | undefined;
  /** `DbusConnection.onSignal`. */
  subscribe(rule: DbusSignalRule, handler: (body: unknown[]) => void): Promise<() => Promise<void>>;
}

export interface SignalsOptions {
  readonly inbox: Inbox;
  /** Calls a method of the bus itself with one text. Rejects `DBUS_TIMEOUT`, or with `details.dbusError`. */
  readonly ask: (member: string, argument: string) => Promise<unknown[]>;
  /** The same without an answer. Throws nothing. */
  readonly tell: (member: string, argument: string) => void;
  /** Whether the bus is still there. */
  readonly isOpen: () => boolean;
  /** The bus itself, as the one who is called. */
  readonly bus: { readonly destination: string; readonly path: string; readonly interface: string };
}

interface Owner {
  name: string | undefined;
  readonly known: Promise<void>;
}

/**
 * Receives signals of the processes that may send them. The bus lets any process send any signal to this connection,
 * whatever its match rules are, so each sender is compared with the owner of the name. Only the bus says who the owner is.
 */
export function createSignals({ inbox, ask, tell, isOpen, bus }: SignalsOptions): Signals {
  const owners = new Map<string, Owner>();
  const ownsItself = (name: string) => name === bus.destination || name.startsWith(':');
  const ownerOf = (name: string) => (ownsItself(name) ? name : owners.get(name)?.name);

  /** Adds a rule at the bus and the listener that goes with it; leaves neither behind when it rejects. */
  const add = async (rule: DbusSignalRule, handle: (body: unknown[]) => void, only = '') => {
    const { sender, path, interface: name, member } = rule;
    const match = `type='signal',sender='${sender}',path='${path}',interface='${name}',member='${member}'${only}`;
    const endListener = inbox.listen({ ...rule, isFrom: (who) => who === ownerOf(sender), handle });
    try {
      await ask('AddMatch', match);
    } catch (error) {
      endListener();
      // A rule that was refused is not there. After any other error the bus may have it.
      const isRefused = error instanceof SystemError && error.details.dbusError !== undefined;
      if (!isRefused && isOpen()) tell('RemoveMatch', match);
      throw error;
    }
    return async () => {
      endListener();
      if (isOpen()) await ask('RemoveMatch', match);
    };
  };

  const trackOwner = async (name: string, setOwner: (owner: string | undefined) => void): Promise<void> => {
    let hasChanged = false;
    const changed = ([which, , owner]: unknown[]) => {
      if (which !== name) return;
      hasChanged = true;
      setOwner(owner === '' ? undefined : String(owner));
    };
    const rule = {
      ...{ sender: bus.destination, path: bus.path, interface: bus.interface },
      ...{ member: 'NameOwnerChanged', signature: 'sss' },
    };
    const adding = add(rule, changed, `,arg0='${name}'`);
    // The question is sent after the rule, so no change is missed in between.
    const asking = ask('GetNameOwner', name);
    const [added, asked] = await Promise.allSettled([adding, asking]);
    if (added.status === 'rejected') throw added.reason;
    if (asked.status === 'fulfilled') {
      // A change that arrived since the rule is in place is never older than this answer.
      if (!hasChanged) setOwner(String(asked.value[0]));
    } else if (!isNobody(asked.reason)) {
      await added.value().catch(() => undefined); // The first error is the one to report.
      throw asked.reason;
    }
  };

  const follow = (name: string): Promise<void> => {
    if (ownsItself(name)) return Promise.resolve();
    let owner = owners.get(name);
    if (owner === undefined) {
      const found: Owner = {
        name: undefined,
        known: trackOwner(name, (now) => {
          found.name = now;
        }),
      };
      found.known.catch(() => owners.delete(name));
      owners.set(name, found);
      owner = found;
    }
    return owner.known;
  };

  return {
    follow,
    ownerOf,
    async subscribe(rule, handler) {
      await follow(rule.sender);
      return add(rule, handler);
    },
  };
}

/** Whether the bus answered that a name has no owner. */
const isNobody = (error: unknown) => isDbusError(error, 'org.freedesktop.DBus.Error.NameHasNoOwner');
