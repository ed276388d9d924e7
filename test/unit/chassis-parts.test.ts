/** A chassis as it is without rails whose parts are absent. */
import { describe, expect, it } from 'vitest';
import type { Board, ChassisBoard } from '../../src/board/schema.ts';
import { chassisWithout, type Parts, partsWithout } from '../../src/run/chassis-parts.ts';
import type { Asked, Together } from '../../src/run/power-good.ts';

const line = (offset: number) => ({ chip: 'gpio', line: offset, active: 'high' as const });
const page = (device: string) => ({ pmbus: device, page: 0 });

describe('the board of a chassis without a rail', () => {
  const devices = { vr: {}, shared: {}, riser: {}, behind: { poweredBy: 'RISER' }, watcher: {}, setter: {} };
  const evidence = ['vr', 'shared', 'riser', 'behind', 'watcher', 'setter'];
  const chassis = {
    rails: {
      P12V: { enable: line(0), good: page('vr') },
      P5V: { enable: page('shared'), good: line(1) },
      RISER: { enable: page('shared'), good: page('riser'), setup: page('setter') },
    },
    evidence,
  } as unknown as ChassisBoard;
  const whole = { chassis, devices: devices as unknown as Board['devices'] };

  it('is the same where none is absent', () => {
    expect(chassisWithout(whole, [])).toEqual(whole);
  });

  it('has the others, and no evidence of what is on its part or has its power from it', () => {
    const without = chassisWithout(whole, ['RISER']);
    expect(Object.keys(without.chassis.rails)).toEqual(['P12V', 'P5V']);
    expect(without.chassis.evidence).toEqual(['vr', 'shared', 'watcher']);
    expect(without.devices).toBe(whole.devices);
  });

  it('keeps as evidence what no rail names', () => {
    const without = chassisWithout(whole, ['P12V', 'P5V']);
    expect(without.chassis.evidence).toEqual(['shared', 'riser', 'behind', 'watcher', 'setter']);
  });
});

describe('the parts of a chassis without a rail', () => {
  const asked = (name: string) => ({ name }) as unknown as Asked;
  const all = ['A', 'B', 'MUTE'];
  const enables = new Map(all.map((rail) => [rail, asked(`enable of ${rail}`)]));
  const goods = new Map(['A', 'B'].map((rail) => [rail, asked(`good of ${rail}`)]));
  const own = asked('pgood');
  const ofRail = (rail: string) => goods.get(rail) ?? enables.get(rail) ?? own;
  const pgood = {
    whole: { name: 'all', of: [own, ...all.map(ofRail)] } as unknown as Together,
    own,
    rails: new Set(all),
  };
  const setups = new Map(all.map((rail) => [rail, { rail }]));
  const parts = { rails: all, enables, goods, setups, pgood, latch: 'latch' } as unknown as Parts;

  it('are the same where none is absent', () => {
    expect(partsWithout(parts, [])).toBe(parts);
  });

  it.each(['B', 'MUTE'])('are those of the others, and what switches and shows %s is kept apart', (gone) => {
    const left = all.filter((rail) => rail !== gone);
    const without = partsWithout(parts, [gone]);
    expect(without.rails).toEqual(left);
    for (const part of ['enables', 'setups'] as const) expect([...without[part].keys()]).toEqual(left);
    expect([...without.goods.keys()]).toEqual(left.filter((rail) => goods.has(rail)));
    expect([...without.absent.keys()]).toEqual([gone]);
    expect([...without.absentGoods.keys()]).toEqual(goods.has(gone) ? [gone] : []);
    expect(without.pgood.whole.of).toEqual([own, ...left.map(ofRail)]);
    expect([...without.pgood.rails]).toEqual(left);
    expect(without.latch).toBe('latch');
  });

  it('are none of pgood where nothing shows or switches the rail', () => {
    expect(partsWithout(parts, ['NOWHERE']).pgood.whole.of).toEqual(pgood.whole.of);
  });
});
