import { existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import { afterEach, beforeEach, expect, it } from 'vitest';
import reference from '../../hw/boards/reference.json' with { type: 'json' };
import { FaultSyntaxError } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import {
  connectPlant,
  type PlantServer,
  type RemotePlant,
  startPlantServer,
} from '../../mocks/plant-server.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { boardSchema } from '../../src/board/schema.ts';

const board = v.parse(boardSchema, reference);
const ENABLE = { chip: '1e780000.gpio', line: 'C0' };

let directory: string;
let socketPath: string;
let servers: PlantServer[];
let clients: RemotePlant[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'plant-server-'));
  socketPath = join(directory, 'plant.sock');
  servers = [];
  clients = [];
});
afterEach(async () => {
  for (const client of clients) await client.close();
  for (const server of servers) await server.close();
  rmSync(directory, { recursive: true });
});

async function start(path = socketPath) {
  const clock = createVirtualClock();
  const plant = createPlant({ board, clock });
  servers.push(await startPlantServer({ plant, socketPath: path }));
  return { plant, clock };
}

async function connect(): Promise<RemotePlant> {
  const client = await connectPlant(socketPath);
  clients.push(client);
  return client;
}

/** A socket file behind which nobody listens, as a killed server leaves it. */
async function leaveStaleSocket(): Promise<void> {
  const server = await new Promise<Server>((resolve) => {
    const listening = createServer().listen(socketPath, () => resolve(listening));
  });
  // Node removes the path that it bound when it closes, so the file is elsewhere by then.
  renameSync(socketPath, `${socketPath}.kept`);
  await new Promise((resolve) => server.close(resolve));
  renameSync(`${socketPath}.kept`, socketPath);
}

it('lets several clients share one chassis', async () => {
  const { clock } = await start();
  const [one, other] = [await connect(), await connect()];
  await (await one.gpio.openOutput(ENABLE)).write(1);
  await one.close();
  expect(await (await other.gpio.openOutput(ENABLE)).read()).toBe(1);
  await clock.advance(50);
  expect((await other.rails())[0]).toMatchObject({ rail: 'P12V', good: true, volts: 12 });
  expect(await other.lines()).toContainEqual({
    line: '1e780000.gpio/16',
    role: 'enable',
    chassis: 0,
    rail: 'P12V',
    direction: 'out',
    level: 1,
    asserted: true,
    driven: true,
    changes: 1,
  });
  expect((await other.history()).map(({ type }) => type)).toEqual(['drive', 'line', 'ramp', 'rail', 'line']);
});

it('takes faults and forced levels, and tells hazards and misuses', async () => {
  const { plant } = await start();
  const client = await connect();
  await client.addFault('good P12V stuck on');
  expect(plant.lines()[1]).toMatchObject({ role: 'good', asserted: true });
  await client.clearFaults();
  expect(plant.lines()[1]).toMatchObject({ asserted: false });
  await client.hold(ENABLE, 1);
  expect(plant.lines()[0]).toMatchObject({ level: 1 });
  await expect(client.addFault('rail P1V9 droops')).rejects.toThrow(FaultSyntaxError);
  const output = await client.gpio.openOutput({ chip: '1e780000.gpio', line: 'C1' });
  await output.write(1);
  expect(await client.hazards()).toMatchObject([{ kind: 'enabledTooEarly', name: 'P5V' }]);
  await expect(output.write(2 as never)).rejects.toThrow();
  expect(await client.misuses()).toHaveLength(1);
});

it('replaces the socket of a dead server', async () => {
  await leaveStaleSocket();
  expect(existsSync(socketPath)).toBe(true);
  await start();
  expect(await (await connect()).lines()).not.toEqual([]);
});

it('does not take the socket of a live server', async () => {
  await start();
  await expect(start()).rejects.toMatchObject({ code: 'GPIO_BUSY', message: /running plant/ });
  expect(await (await connect()).lines()).not.toEqual([]);
});

it('does not remove a file that is no socket', async () => {
  writeFileSync(socketPath, 'precious');
  await expect(start()).rejects.toMatchObject({ code: 'GPIO_BUSY' });
  expect(existsSync(socketPath)).toBe(true);
});

it.each([
  ['a directory that does not exist', () => join(directory, 'missing', 'plant.sock')],
  ['a path that is too long', () => join(directory, 'x'.repeat(120))],
])('says what is wrong with %s', async (_name, path) => {
  await expect(start(path())).rejects.toMatchObject({ code: 'GPIO_UNAVAILABLE', message: /choose a/ });
});

it('tells who connects that nobody listens', async () => {
  await expect(connectPlant(socketPath)).rejects.toMatchObject({
    code: 'GPIO_UNAVAILABLE',
    message: expect.stringContaining('chassis-power-sim plant'),
  });
});

it('ends its connections when it is closed, and removes its socket', async () => {
  await start();
  const client = await connect();
  const line = await client.gpio.openOutput(ENABLE);
  await servers[0]?.close();
  await client.closed;
  await expect(line.read()).rejects.toThrow(/went away/);
  expect(existsSync(socketPath)).toBe(false);
});
