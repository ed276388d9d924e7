/**
 * How soon a lost chassis is off, and what the watch costs. Everything is measured in one run, so the ratios hold
 * whatever the machine: the resident service as it ships (one process, on a private bus), and beside it the way of
 * the peers, a program that looks at pgood every so often, on the same simulated chassis over the same socket.
 */
import type { ChildProcess } from 'node:child_process';
import { availableParallelism, cpus } from 'node:os';
import { errorText } from '../../hw/errors.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { connectDbus } from '../../src/system/dbus/connection.ts';
import { until } from '../until.ts';
import {
  boardOf,
  changes,
  children,
  cleanUp,
  clock,
  end,
  isOn,
  type LineEvent,
  lossMs,
  pause,
  power,
  privateBus,
  residentKib,
  rested,
  serveOn,
  simulated,
  stageOf,
  start,
} from './rig.ts';

const [, pollerPath = '', hostilePath = '', trials = ''] = process.argv.slice(2);
const TRIALS = Number(trials);
/** Each is three processes of their own. */
const ONESHOT_TRIALS = Math.ceil(0.3 * TRIALS);
const CHASSIS = 12;
const POLLERS_MS = [3_000, 1_000];
const BUSY_LOOK_MS = 1_000;
/** A quiet machine is below it. */
const BUSY_PERCENT = 15;

/** What else goes on: processes that take every core, or one on the bus that sends what nobody wants. */
type Beside = 'nothing' | 'load' | 'huge' | 'many';

/** Just below what a system bus takes, and as many at once as the limits of a system bus allow a client. */
const HOSTILE: Readonly<Record<'huge' | 'many', string>> = { huge: String(30 * 1024 * 1024), many: '100' };

function startBeside(beside: Beside, address: string): ChildProcess[] {
  switch (beside) {
    case 'nothing':
      return [];
    case 'load':
      return Array.from({ length: availableParallelism() }, () => start(['--eval', 'for (;;);']));
    case 'huge':
    case 'many':
      return [start([hostilePath, beside, HOSTILE[beside]], { DBUS_SYSTEM_BUS_ADDRESS: address })];
  }
}

async function measureService(address: string, beside: Beside): Promise<{ off: number[]; signal: number[] }> {
  const stage = await stageOf(boardOf(1), 'off');
  const service = await serveOn(stage, address);
  const dbus = await connectDbus({ clock, address });
  const off: number[] = [];
  const signal: number[] = [];
  let heardMs: number | null = null;
  await dbus.onSignal(
    {
      sender: 'org.openbmc.control.Power',
      path: '/org/openbmc/control/power0',
      interface: 'org.openbmc.control.Power',
      member: 'PowerLost',
      signature: '',
    },
    () => {
      heardMs ??= clock.nowMs();
    },
  );
  await until('the service answers', () =>
    power(dbus, 0, 1).then(
      () => true,
      () => false,
    ),
  );
  const busy = startBeside(beside, address);
  while (off.length < TRIALS) {
    await power(dbus, 0, 1);
    await until('pgood stands', () => isOn(stage.plant, 0));
    // The edge comes at no special moment.
    await pause(20 + Math.random() * 30);
    const sinceMs = clock.nowMs();
    heardMs = null;
    stage.plant.addFault(parseFault('pgood stuck off', boardOf(1)));
    await until(
      'everything is off and told',
      () => lossMs(stage.plant, 0, sinceMs) !== null && heardMs !== null,
    );
    const ms = lossMs(stage.plant, 0, sinceMs);
    const [edge] = changes(stage.plant, 'pgood', 0, sinceMs);
    if (ms !== null) off.push(ms);
    if (edge && heardMs !== null) signal.push(heardMs - edge.atMs);
    stage.plant.clearFaults();
    await until('the failure is handled', () =>
      power(dbus, 0, 0).then(
        () => true,
        () => false,
      ),
    );
  }
  for (const child of [...busy, service]) await end(child);
  await dbus.close();
  await stage.close();
  return { off, signal };
}

/** A power sequence that oneshots run beside the service: from what it does to the lines to what the bus tells. */
async function measureOneshots(address: string): Promise<{ first: number[]; good: number[] }> {
  const stage = await stageOf(boardOf(1), 'off');
  const service = await serveOn(stage, address);
  const dbus = await connectDbus({ clock, address });
  const first: number[] = [];
  const good: number[] = [];
  let risingMs: number | null = null;
  let goodMs: number | null = null;
  const path = '/org/openbmc/control/power0';
  const sender = 'org.openbmc.control.Power';
  await dbus.onSignal(
    {
      sender,
      path,
      interface: 'org.freedesktop.DBus.Properties',
      member: 'PropertiesChanged',
      signature: 'sa{sv}as',
    },
    (body) => {
      if (JSON.stringify(body).includes('opPowerStart')) risingMs ??= clock.nowMs();
    },
  );
  await dbus.onSignal({ sender, path, interface: sender, member: 'PowerGood', signature: '' }, () => {
    goodMs ??= clock.nowMs();
  });
  await until('the service answers', () =>
    power(dbus, 0, 0).then(
      () => true,
      () => false,
    ),
  );
  const oneshot = async (verb: string): Promise<void> => {
    const child = start(simulated(stage, verb));
    const code = await new Promise((resolve) => child.once('exit', resolve));
    if (code !== 0) throw new Error(`${verb} ended with ${code}`);
  };
  while (first.length < ONESHOT_TRIALS) {
    const sinceMs = clock.nowMs();
    risingMs = null;
    goodMs = null;
    await oneshot('start');
    await oneshot('wait-on');
    await until('the bus has told it', () => risingMs !== null && goodMs !== null);
    const edges = stage.plant.history.filter(
      (event): event is LineEvent => event.type === 'line' && event.atMs >= sinceMs,
    );
    const enabled = edges.find(({ role, asserted }) => role === 'enable' && asserted);
    const released = edges.findLast(({ role, asserted }) => role === 'reset' && !asserted);
    if (enabled && risingMs !== null) first.push(risingMs - enabled.atMs);
    if (released && goodMs !== null) good.push(goodMs - released.atMs);
    await oneshot('off');
  }
  await end(service);
  await dbus.close();
  await stage.close();
  return { first, good };
}

/** Twelve chassis at once, each with a poller of its own, so that hundreds of losses take minutes and not hours. */
async function measurePoller(intervalMs: number): Promise<number[]> {
  const found: number[] = [];
  while (found.length < TRIALS) {
    const stage = await stageOf(boardOf(CHASSIS), 'on');
    const pollers = Array.from({ length: CHASSIS }, (_, chassis) =>
      start([pollerPath, stage.socket, stage.boardPath, String(chassis), String(intervalMs)]),
    );
    await Promise.all(pollers.map((poller) => new Promise((resolve) => poller.once('message', resolve))));
    await Promise.all(
      pollers.map(async (_, chassis) => {
        await pause(Math.random() * intervalMs);
        const sinceMs = clock.nowMs();
        stage.plant.addFault(parseFault(`chassis ${chassis} pgood stuck off`, boardOf(CHASSIS)));
        await until('a poller has noticed', () => lossMs(stage.plant, chassis, sinceMs) !== null);
        found.push(lossMs(stage.plant, chassis, sinceMs) ?? Number.NaN);
      }),
    );
    for (const poller of pollers) await end(poller);
    await stage.close();
  }
  return found;
}

async function measureMemory(address: string, chassis: number): Promise<number> {
  const stage = await stageOf(boardOf(chassis), 'on');
  const service = await serveOn(stage, address);
  await rested();
  const kib = residentKib(service);
  await end(service);
  await stage.close();
  return kib;
}

function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN;
}

const say = (text: string) => process.stdout.write(`${text}\n`);
let base = Number.NaN;
function row(name: string, values: readonly number[]): void {
  const median = quantile(values, 0.5);
  if (Number.isNaN(base)) base = median;
  say(
    `${name.padEnd(46)} ${median.toFixed(1).padStart(9)} ${quantile(values, 0.99).toFixed(1).padStart(9)} ` +
      `${(median / base).toFixed(1).padStart(8)} ${String(values.length).padStart(5)}`,
  );
}

/** What this machine's cores do while nothing of ours runs, in percent of all they could. */
async function busyPercent(): Promise<number> {
  const sum = () => {
    const times = cpus().map((cpu) => cpu.times);
    const idle = times.reduce((ms, { idle: own }) => ms + own, 0);
    return { idle, all: times.reduce((ms, own) => Object.values(own).reduce((a, b) => a + b, ms), 0) };
  };
  const before = sum();
  await pause(BUSY_LOOK_MS);
  const after = sum();
  return Math.round(100 * (1 - (after.idle - before.idle) / (after.all - before.all)));
}

/** The clause about a machine that does other things, or nothing. */
async function otherWork(): Promise<string> {
  const percent = await busyPercent();
  return percent < BUSY_PERCENT
    ? ''
    : `the machine is busy: other programs take ${percent} % of its ${cores} cores`;
}

/** Measures, and says of what could not be measured why: the figures of the others are none the worse for it. */
async function measured<Figures>(
  what: string,
  measure: () => Promise<Figures>,
  tell: (figures: Figures) => void,
) {
  const before = new Set(children);
  try {
    tell(await measure());
  } catch (error) {
    process.exitCode = 1;
    for (const child of children) if (!before.has(child)) await end(child);
    const why = [errorText(error), await otherWork()].filter(Boolean);
    say(`${what.padEnd(46)} not measured: ${why.join('; ')}`);
  }
}

const HEAD = 'milliseconds from the edge of pgood';
const cores = availableParallelism();

async function main(address: string): Promise<void> {
  const busy = await otherWork();
  if (busy) say(`${busy}, and what follows is slower than on a quiet machine\n`);
  say(
    `${HEAD.padEnd(46)} ${'median'.padStart(9)} ${'p99'.padStart(9)} ${'ratio'.padStart(8)} ${'n'.padStart(5)}`,
  );
  for (const [load, name] of [
    ['nothing', 'idle'],
    ['load', `${cores} cores loaded`],
    ['huge', 'messages of 30 MB'],
    ['many', 'a flood of calls'],
  ] as const) {
    await measured(
      `service, ${name}`,
      () => measureService(address, load),
      ({ off, signal }) => {
        row(`service, to the last enable off, ${name}`, off);
        row(`service, to the D-Bus signal, ${name}`, signal);
      },
    );
  }
  say('\nmilliseconds from what a oneshot does to what the bus tells, below 0 where the bus is first');
  await measured(
    'oneshots beside the service',
    () => measureOneshots(address),
    ({ first, good }) => {
      row('first enable to State opPowerStart', first);
      row('last reset released to PowerGood', good);
    },
  );
  say('');
  for (const intervalMs of POLLERS_MS) {
    const name = `poller of ${intervalMs} ms, to the last enable off, idle`;
    await measured(
      name,
      () => measurePoller(intervalMs),
      (found) => row(name, found),
    );
  }
  await memory(address);
}

async function memory(address: string): Promise<void> {
  say(`\n${'resident memory, MiB'.padEnd(46)} ${''.padStart(19)} ${'ratio'.padStart(8)}`);
  let nodeKib = Number.NaN;
  const line = (name: string, measure: () => Promise<number>) =>
    measured(name, measure, (kib) => {
      if (Number.isNaN(nodeKib)) nodeKib = kib;
      const ratio = (kib / nodeKib).toFixed(2);
      say(`${name.padEnd(46)} ${(kib / 1024).toFixed(1).padStart(19)} ${ratio.padStart(8)}`);
    });
  await line('node that does nothing', async () => {
    const idleNode = start(['--eval', 'setInterval(() => undefined, 1000)']);
    await rested();
    const kib = residentKib(idleNode);
    await end(idleNode);
    return kib;
  });
  for (const chassis of [1, CHASSIS]) {
    const name = `service with ${chassis} chassis that ${chassis === 1 ? 'is' : 'are'} on`;
    await line(name, () => measureMemory(address, chassis));
  }
}

function leave(): never {
  cleanUp();
  // A measurement that failed may have left a server or a connection open.
  process.exit();
}

function giveUp(error: unknown): never {
  process.stderr.write(`the benchmark cannot go on: ${errorText(error)}\n`);
  process.exitCode = 1;
  leave();
}

// What nobody waits for any more may fail too, as a process that could not be started.
process.on('uncaughtException', giveUp);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => giveUp(signal));
try {
  const bus = await privateBus();
  await main(bus.address);
  await bus.close();
} catch (error) {
  giveUp(error);
}
leave();
