// A stand-in for the processes of phosphor-state-manager, for chassis and host 0 on the system bus: goes by the ends of
// jobs as they do, keeps their states, and with AUTO_REBOOT=on boots a host that was quiesced again, three times. Prints
// what it does as lines of JSON.
import dbusNext from 'dbus-next';

const { Message, MessageType, Variant } = dbusNext;
const CHASSIS = 'xyz.openbmc_project.State.Chassis';
const HOST = 'xyz.openbmc_project.State.Host';
const SYSTEMD = 'org.freedesktop.systemd1';
const PROPERTIES = 'org.freedesktop.DBus.Properties';
/** phosphor-state-manager's own default (meson option boot-count-max-allowed). */
const ATTEMPTS = 3;

const bus = dbusNext.systemBus();
const objects = {
  '/xyz/openbmc_project/state/chassis0': {
    [CHASSIS]: {
      CurrentPowerState: `${CHASSIS}.PowerState.Off`,
      RequestedPowerTransition: `${CHASSIS}.Transition.Off`,
    },
  },
  '/xyz/openbmc_project/state/host0': {
    [HOST]: { CurrentHostState: `${HOST}.HostState.Off`, RequestedHostTransition: `${HOST}.Transition.Off` },
  },
};
const chassis = objects['/xyz/openbmc_project/state/chassis0'][CHASSIS];
const host = objects['/xyz/openbmc_project/state/host0'][HOST];
let attemptsLeft = process.env.AUTO_REBOOT === 'on' ? ATTEMPTS : 0;

/** What is started for a request, by property and the last word of its value; "replace", and nobody waits for it. */
const REQUESTS = {
  RequestedPowerTransition: {
    Off: 'obmc-chassis-hard-poweroff@0.target',
    On: 'obmc-chassis-poweron@0.target',
    PowerCycle: 'obmc-chassis-powercycle@0.target',
  },
  RequestedHostTransition: {
    Off: 'obmc-host-shutdown@0.target',
    On: 'obmc-host-start@0.target',
    Reboot: 'obmc-host-reboot@0.target',
  },
};
const DONE = {
  'obmc-chassis-poweroff@0.target': () => setState(chassis, 'CurrentPowerState', `${CHASSIS}.PowerState.Off`),
  'obmc-chassis-poweron@0.target': () => setState(chassis, 'CurrentPowerState', `${CHASSIS}.PowerState.On`),
  'obmc-host-stop@0.target': () => setState(host, 'CurrentHostState', `${HOST}.HostState.Off`),
  'obmc-host-startmin@0.target': () => setState(host, 'CurrentHostState', `${HOST}.HostState.Running`),
  'obmc-host-quiesce@0.target': () => {
    if (attemptsLeft > 0) return request('RequestedHostTransition', 'Reboot');
    return setState(host, 'CurrentHostState', `${HOST}.HostState.Quiesced`);
  },
};

function say(what) {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}

function setState(object, property, value) {
  object[property] = value;
  say({ [property]: value.split('.').at(-1) });
}

async function request(property, wanted) {
  const unit = REQUESTS[property][wanted];
  if (unit === undefined) throw new Error(`no ${property} ${wanted}`);
  if (property === 'RequestedHostTransition' && wanted !== 'Off') attemptsLeft -= 1;
  say({ [property]: wanted, unit });
  await call(SYSTEMD, '/org/freedesktop/systemd1', `${SYSTEMD}.Manager`, 'StartUnit', 'ss', [
    unit,
    'replace',
  ]);
}

async function call(destination, path, name, member, signature, body) {
  return (await bus.call(new Message({ destination, path, interface: name, member, signature, body }))).body;
}

async function activeState(unit) {
  const [path] = await call(SYSTEMD, '/org/freedesktop/systemd1', `${SYSTEMD}.Manager`, 'LoadUnit', 's', [
    unit,
  ]);
  const [state] = await call(SYSTEMD, path, PROPERTIES, 'Get', 'ss', [`${SYSTEMD}.Unit`, 'ActiveState']);
  return state.value;
}

async function jobRemoved(unit, result) {
  const done = DONE[unit];
  if (done === undefined || result !== 'done') return;
  if (['active', 'activating'].includes(await activeState(unit))) await done();
}

/** One after the other, in the order in which they came. */
let news = Promise.resolve();
bus.on('message', (message) => {
  if (message.type !== MessageType.SIGNAL || message.member !== 'JobRemoved') return;
  const [, , unit, result] = message.body;
  news = news.then(() => jobRemoved(unit, result)).catch((error) => say({ failed: String(error) }));
});

bus.addMethodHandler((message) => {
  if (message.interface !== PROPERTIES) return false;
  const [name, property, value] = message.body;
  const object = objects[message.path]?.[name];
  if (object?.[property] === undefined) {
    bus.send(
      Message.newError(message, 'org.freedesktop.DBus.Error.UnknownProperty', `no ${name}.${property}`),
    );
  } else if (message.member === 'Get') {
    bus.send(Message.newMethodReturn(message, 'v', [new Variant('s', object[property])]));
  } else if (message.member === 'Set') {
    const wanted = value.value.split('.').at(-1);
    const requested = REQUESTS[property] === undefined ? undefined : request(property, wanted);
    requested?.catch((error) => say({ failed: String(error) }));
    setState(object, property, value.value);
    bus.send(Message.newMethodReturn(message));
  }
  return true;
});

const match = `type='signal',sender='${SYSTEMD}',interface='${SYSTEMD}.Manager',member='JobRemoved'`;
await call('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'AddMatch', 's', [match]);
await call(SYSTEMD, '/org/freedesktop/systemd1', `${SYSTEMD}.Manager`, 'Subscribe', '', []);
for (const name of [CHASSIS, `${CHASSIS}0`, HOST, `${HOST}0`]) await bus.requestName(name, 0);
say({ ready: true });
