import { loadBoard } from '../board/load.ts';
import type { Output } from '../system/ports.ts';
import { worstOf } from './exit.ts';
import type { Invocation } from './verb.ts';
import type { World } from './world.ts';

/**
 * Runs a verb for every chassis of the board, for all at once: a request that fails, or that waits for another process,
 * keeps no other chassis from its own, and power goes off everywhere at the same time. Returns the worst exit code.
 * @param run the verb for one chassis; never rejects
 * @throws PowerError of a board file that cannot be used, before any chassis is touched
 */
export async function runForEvery(
  invocation: Invocation,
  world: World,
  run: (invocation: Invocation, world: World) => Promise<number>,
): Promise<number> {
  const { board } = await loadBoard(invocation.boardPath);
  const codes = await Promise.all(
    Object.keys(board.chassis)
      .map(Number)
      .map((chassis) => run(ofChassis(chassis, invocation), worldOf(chassis, invocation, world))),
  );
  return worstOf(codes);
}

/** Files that a verb writes have the number of their chassis in their names. */
function ofChassis(chassis: number, invocation: Invocation): Invocation {
  return {
    ...invocation,
    chassis,
    option(name) {
      const value = invocation.option(name);
      return name === 'svg' ? value?.replace(/(\.[^./]*)?$/, `-${chassis}$1`) : value;
    },
  };
}

/** The world in which every line says of which chassis it is. There is no live view: one terminal has room for one. */
function worldOf(chassis: number, { json }: Invocation, world: World): World {
  const { stdout, stderr } = world;
  return {
    ...world,
    stdout: outputOf(stdout, (text) => (json ? inJson(text, chassis) : named(text, chassis))),
    stderr: outputOf(stderr, (text) => named(text, chassis)),
  };
}

function outputOf(output: Output, say: (text: string) => string): Output {
  return {
    write: (text) => output.write(output.journal ? text : say(text)),
    columns: null,
    journal: output.journal,
  };
}

/** A text that names its chassis at its begin stays as it is. */
function named(text: string, chassis: number): string {
  const head = `chassis ${chassis}`;
  if (new RegExp(`^(?:[\\w-]+: )?${head}\\b`).test(text)) return text;
  return text.replaceAll(/^(?=.)/gm, `${head}: `);
}

function inJson(text: string, chassis: number): string {
  return text.replaceAll(/^\{.*$/gm, (line) => JSON.stringify({ chassis, ...JSON.parse(line) }));
}
