import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { replay } from '../../mocks/replay/replay.ts';
import { parseBoard } from '../../src/board/parse.ts';
import type { Invocation, Verb } from '../../src/cli/verb.ts';
import type { World } from '../../src/cli/world.ts';
import { boardFor, DEFECTS, defectNamed, savedOf, withDefect } from './defects.ts';
import { CHAIN } from './small-boards.ts';

interface Defective {
  readonly replay: typeof replay;
}

/** Of a story that asks a process for something that nobody can ask it for, on the way down: another one waits its turn. */
const NOT_PLAYED = ['a request is not answered'];
/** Of a story in which a process looks at the chassis, leaves it as it is and is followed by the next one: on the plant it goes on. */
const OTHER_COURSE = ['a button is pressed again for a host that is on already'];

describe('a saved counterexample of a deliberate defect breaks its invariant on the plant too', () => {
  it.each(DEFECTS.map((defect, index) => ({ ...defect, index })))('$breaks: $what', async (defect) => {
    const saved = await savedOf(defect.what);
    const { board } = boardFor(defect);
    const { replay: replayDefective } = await withDefect<Defective>(
      defect,
      'mocks/replay/replay.ts',
      `replay-${defect.index}`,
    );
    const bad = await replayDefective(saved, board);
    const good = await replay(saved, board);
    const where = `${JSON.stringify(bad.found)}; ${bad.notPlayed.join()}; ${bad.parted}`;
    if (NOT_PLAYED.includes(defect.what)) {
      expect(bad.notPlayed.join(), where).toContain('one process at a time');
    } else if (OTHER_COURSE.includes(defect.what)) {
      expect(bad.parted, where).not.toBeNull();
    } else {
      expect(bad.notPlayed, where).toEqual([]);
      expect(
        bad.found.map(({ invariant }) => invariant),
        where,
      ).toContain(defect.breaks);
    }
    // The machine as it is passes the same file.
    expect(good.found).toEqual([]);
  });
});

const dir = mkdtempSync(join(tmpdir(), 'chassis-power-replay-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** The verb of a program with a defect, and what it wrote. */
async function verifyWith(options: Readonly<Record<string, string>>) {
  const { verify } = await withDefect<{ readonly verify: Verb }>(
    defectNamed('rails go off in the order in which they came'),
    'src/cli/verbs/verify.ts',
    'verify-verb',
  );
  const written = { stdout: '', stderr: '' };
  const output = (to: 'stdout' | 'stderr') => ({
    write: (text: string) => {
      written[to] += text;
    },
    journal: false,
  });
  const world = {
    stdout: output('stdout'),
    stderr: output('stderr'),
    programName: 'chassis-power',
    clock: { nowMs: () => 0 },
  } as unknown as World;
  const board = join(dir, 'chain.json');
  writeFileSync(board, JSON.stringify(CHAIN.value));
  const invocation = {
    boardPath: board,
    operands: [],
    chassis: 0,
    json: false,
    option: (name: string) => options[name],
    flag: () => false,
  } as unknown as Invocation;
  return { code: await verify.run(invocation, world), ...written };
}

describe('a violated invariant', () => {
  it('is told as a story with times and as a timing diagram, drawn, and saved to be played again', async () => {
    const [saved, drawn] = [join(dir, 'counterexample.json'), join(dir, 'counterexample.svg')];
    const { code, stdout, stderr } = await verifyWith({ faults: '0', save: saved, svg: drawn });
    expect({ code, stderr }).toEqual({ code: 65, stderr: '' });
    expect(stdout).toContain('BROKEN (reverseOrder)');
    expect(stdout).toMatch(/^ +1\. +0\.0 ms {2}POWER_ON is asked for \(opPowerStart\)$/m);
    expect(stdout).toMatch(/^ +\d+\. +1\.0 ms {2}POWER_OFF is asked for/m);
    expect(stdout).toMatch(/^ +A good +▁+▇+$/m);
    expect(stdout).toContain(`chassis-power-sim replay ${saved}`);
    expect(readFileSync(drawn, 'utf8')).toContain('<svg');
    expect((await replay(JSON.parse(readFileSync(saved, 'utf8')), CHAIN.board)).notPlayed).toEqual([]);
  });

  it('of a board that was tried in parts is saved with the board of the part, and is played on that', async () => {
    const saved = join(dir, 'part.json');
    const { code, stdout, stderr } = await verifyWith({ faults: '0', rails: '1', save: saved });
    expect({ code, stderr }).toEqual({ code: 65, stderr: '' });
    expect(stdout).toContain('in parts: each rail, all others ideal (2 choices');
    const kept = JSON.parse(readFileSync(saved, 'utf8'));
    const board = parseBoard(JSON.stringify(kept.board));
    if (board === undefined) throw new TypeError('the board of the part is no board');
    const seen = Object.values(board.chassis[0]?.rails ?? {}).filter(({ good }) => good !== undefined);
    expect(seen).toHaveLength(1);
    expect(await replay(kept, board)).toMatchObject({ notPlayed: [], found: [] });
  });

  it('that cannot be saved is told all the same', async () => {
    const { code, stdout, stderr } = await verifyWith({ faults: '0', save: '/nowhere/c.json' });
    expect(code).toBe(65);
    expect(stdout).toContain('BROKEN (reverseOrder)');
    expect(stderr).toContain('cannot write /nowhere/c.json');
  });
});
