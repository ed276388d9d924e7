import { lstatSync, unlinkSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { errnoCode, errorText, HardwareError } from '../hw/errors.ts';
import type { Level, LineRef } from '../hw/ports.ts';
import { createMockGpio } from './backends/gpio.ts';
import { createMockI2c } from './backends/i2c.ts';
import { createMockProperties } from './backends/properties.ts';
import { createMockSensors } from './backends/sensors.ts';
import type { Hazard, PlantEvent } from './plant/events.ts';
import { parseFault } from './plant/faults.ts';
import type { Plant, PlantLine, PlantRail } from './plant/plant.ts';
import { connectPorts, type PortClient } from './wire/client.ts';
import { servePorts } from './wire/server.ts';

/** Longest path of a unix socket on Linux, without its final NUL (unix(7)). */
const LONGEST_SOCKET_PATH_BYTES = 107;

export interface PlantServer {
  readonly socketPath: string;
  /** Stops listening, ends all connections and removes the socket. The plant goes on. */
  close(): Promise<void>;
}

/** A plant that runs in another process. */
export interface RemotePlant extends PortClient {
  lines(): Promise<PlantLine[]>;
  rails(): Promise<PlantRail[]>;
  hazards(): Promise<Hazard[]>;
  misuses(): Promise<string[]>;
  history(): Promise<PlantEvent[]>;
  /** Rejects FaultSyntaxError for what is no fault of this plant. */
  addFault(text: string): Promise<void>;
  clearFaults(): Promise<void>;
  /** Forces a line from outside; null lets go. */
  hold(line: LineRef, level: Level | null): Promise<void>;
}

/**
 * Lets other processes work on a plant. The socket of a dead server is replaced.
 * Rejects `GPIO_BUSY` when a server is alive behind it, and `GPIO_UNAVAILABLE` when it cannot be had.
 */
export async function startPlantServer(options: {
  readonly plant: Plant;
  readonly socketPath: string;
}): Promise<PlantServer> {
  const { plant, socketPath } = options;
  checkPath(socketPath);
  const gpio = createMockGpio(plant);
  const i2c = createMockI2c(plant);
  const sensors = createMockSensors(plant);
  const properties = createMockProperties(plant);
  const sockets = new Set<Socket>();

  const extra = {
    lines: () => plant.lines(),
    rails: () => plant.rails(),
    hazards: () => plant.hazards,
    misuses: () => plant.misuses,
    history: () => plant.history,
    addFault: (text: string) => plant.addFault(parseFault(text)),
    clearFaults: () => plant.clearFaults(),
    hold: (line: LineRef, level: Level | null) => plant.hold(line, level),
  };
  const server = createServer((socket) => {
    sockets.add(socket);
    void servePorts(socket, { gpio, i2c, sensors, properties, extra }).closed.then(() =>
      sockets.delete(socket),
    );
  });

  try {
    await listen(server, socketPath);
  } catch (error) {
    if (errnoCode(error) !== 'EADDRINUSE') throw unusable(socketPath, error);
    await removeStaleSocket(socketPath);
    await listen(server, socketPath).catch((again: unknown) => {
      throw unusable(socketPath, again);
    });
  }

  return {
    socketPath,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

/** Connects to a running plant. Rejects `GPIO_UNAVAILABLE` when none listens there. */
export async function connectPlant(socketPath: string): Promise<RemotePlant> {
  checkPath(socketPath);
  let socket: Socket;
  try {
    socket = await open(socketPath);
  } catch (error) {
    throw new HardwareError(
      'GPIO_UNAVAILABLE',
      `no simulated chassis listens at ${socketPath} (${errnoCode(error) ?? errorText(error)}): start one with "chassis-power-sim plant"`,
      { path: socketPath },
      { cause: error },
    );
  }
  const client = connectPorts(socket, { peer: `the simulated chassis at ${socketPath}` });
  const { call } = client;
  return {
    ...client,
    lines: () => call('lines'),
    rails: () => call('rails'),
    hazards: () => call('hazards'),
    misuses: () => call('misuses'),
    history: () => call('history'),
    addFault: (text) => call('addFault', text),
    clearFaults: () => call('clearFaults'),
    hold: (line, level) => call('hold', line, level),
  };
}

function checkPath(socketPath: string): void {
  if (Buffer.byteLength(socketPath) <= LONGEST_SOCKET_PATH_BYTES) return;
  throw new HardwareError(
    'GPIO_UNAVAILABLE',
    `${socketPath} is too long for a socket (at most ${LONGEST_SOCKET_PATH_BYTES} bytes): choose a shorter path`,
    { path: socketPath },
  );
}

function unusable(socketPath: string, error: unknown): HardwareError {
  return new HardwareError(
    'GPIO_UNAVAILABLE',
    `cannot listen at ${socketPath} (${errnoCode(error) ?? errorText(error)}): choose a path in a directory that exists and can be written`,
    { path: socketPath },
    { cause: error },
  );
}

/** Removes the socket that a killed server left. Rejects when it is alive, or no socket. */
async function removeStaleSocket(socketPath: string): Promise<void> {
  const busy = (what: string) =>
    new HardwareError('GPIO_BUSY', `${socketPath} ${what}`, { path: socketPath });
  if (!lstatSync(socketPath, { throwIfNoEntry: false })?.isSocket()) {
    throw busy('is there and is no socket: choose another path');
  }
  try {
    (await open(socketPath)).destroy();
  } catch (error) {
    if (errnoCode(error) !== 'ECONNREFUSED') throw unusable(socketPath, error);
    unlinkSync(socketPath);
    return;
  }
  throw busy('is served by a running plant already: stop it, or choose another path');
}

function listen(server: Server, path: string): Promise<AddressInfo | string | null> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve(server.address());
    });
  });
}

function open(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}
