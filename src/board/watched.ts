import { type ChassisPart, type Check, eachChassis, type Finding } from './findings.ts';

/** Rails that are only watched: without an enable, and nothing of them is ever driven. */

const ENABLE = '"enable": { "chip": "1e780000.gpio", "line": "C0" }';
const GOOD = '"good": { "chip": "1e780000.gpio", "line": "B0" }';

/** Of the rails that could be read at all: whether the file says something of it, be it wrong. */
function saidOf({ rails = {} }: ChassisPart, key: 'enable' | 'good'): [name: string, isSaid: boolean][] {
  return Object.entries(rails).flatMap(([name, rail]) => (rail === undefined ? [] : [[name, key in rail]]));
}

/** The rail hangs on no enable, itself or through others: it stays when the chassis is off. */
export function isSupply({ rails = {} }: ChassisPart, name: string): boolean {
  const visited = new Set<string>();
  const hangsOnEnable = (each: string): boolean => {
    const rail = rails[each];
    if (rail === undefined || visited.has(each)) return false;
    visited.add(each);
    return 'enable' in rail || (rail.needs ?? []).some((need) => need !== undefined && hangsOnEnable(need));
  };
  return !hangsOnEnable(name);
}

/** A rail that nobody can switch can at least be seen. */
export const checkWatched: Check = (board) =>
  eachChassis(board, (chassis, path) => {
    const isSeen = new Map(saidOf(chassis, 'good'));
    return saidOf(chassis, 'enable').flatMap(([rail, isSwitched]): Finding[] => {
      if (isSwitched || isSeen.get(rail)) return [];
      return [
        {
          at: [...path, 'rails', rail],
          message: `rail ${rail} has neither "enable" nor "good": it can be neither switched nor seen`,
          suggestion: `add what switches it, ${ENABLE}, or, where it is only watched, how it is seen to be good, ${GOOD}`,
          absent: true,
        },
      ];
    });
  });

/** A chassis has something to switch. */
export const checkSwitched: Check = (board) =>
  eachChassis(board, (chassis, path) => {
    const rails = saidOf(chassis, 'enable');
    const [[first] = []] = rails;
    const isUnread = rails.length < Object.keys(chassis.rails ?? {}).length;
    if (first === undefined || isUnread || rails.some(([, isSwitched]) => isSwitched)) return [];
    return [
      {
        at: [...path, 'rails'],
        message: 'no rail has an "enable": every rail is only watched, and nothing switches the power',
        suggestion: `give the rail that the others hang on its enable, such as ${ENABLE} in ${first}`,
        absent: true,
      },
    ];
  });
