import type { PgoodSource as PgoodBoardSource } from '../../src/board/pgood.ts';
import { sourcesOf } from '../../src/board/pgood-sources.ts';
import type { ChassisBoard, LineBoard, RailBoard } from '../../src/board/schema.ts';
import { isSensor } from '../../src/board/sensor-ref.ts';
import {
  type ArmedFault,
  type Chassis,
  type Device,
  isAsserted,
  isMissing,
  isShown,
  isWanted,
  type Net,
  netAsserted,
  type PgoodSource,
  type Rail,
  withFaults,
} from './circuit.ts';

/** Where the board gives the least voltage alone. */
const ABOVE_LEAST = 1.1;

interface PgoodParts {
  /** The net of a line of the board. */
  netOf(line: LineBoard, role: string): Net;
  deviceOf(name: string): Device;
}

export function buildPgood(
  chassis: Chassis,
  described: ChassisBoard,
  { netOf, deviceOf }: PgoodParts,
): PgoodSource[] {
  return sourcesOf(described.pgood).map(({ source, role }): PgoodSource => {
    if ('rails' in source) {
      const counts = ({ board: { good, logOnly } }: Rail) =>
        logOnly === undefined && (described.latch === undefined || good !== undefined);
      const says = () => chassis.rails.filter((rail) => counts(rail) && isAsked(rail)).every(seemsGood);
      return { net: undefined, page: undefined, faults: [], isSignal: false, says };
    }
    if ('pmbus' in source) {
      const { pmbus: device, page } = source;
      const faults: ArmedFault[] = [];
      const isIt = (part: RailBoard['enable'] | RailBoard['good']) =>
        part !== undefined && 'pmbus' in part && part.pmbus === device && part.page === page;
      // A page that belongs to rails shows these.
      const shown = chassis.rails.filter(({ board }) => isIt(board.enable) || isIt(board.good));
      const it = deviceOf(device);
      // A device without power says nothing, whatever it would say.
      const says = () =>
        it.poweredBy?.good !== false &&
        withFaults(
          faults,
          shown.length > 0 ? shown.every((rail) => rail.good || isMissing(rail)) : chassis.pgood,
        );
      return {
        net: undefined,
        page: { device, page, nominalVolts: nominalVoltsOf(source) },
        faults,
        isSignal: true,
        says,
      };
    }
    if (isSensor(source) || 'dbus' in source) {
      const faults: ArmedFault[] = [];
      const says = () => withFaults(faults, chassis.pgood);
      return { net: undefined, page: undefined, faults, isSignal: true, says };
    }
    const net = netOf(source, role);
    net.sources.push(() => chassis.pgood);
    return { net, page: undefined, faults: net.faults, isSignal: true, says: () => netAsserted(net) };
  });
}

/** In the middle of what the board takes for good; where it leaves that to the device, any voltage will do. */
export function nominalVoltsOf(source: PgoodBoardSource): number {
  if (!('minVolts' in source)) return 1;
  const { minVolts, maxVolts } = source;
  return maxVolts === undefined ? minVolts * ABOVE_LEAST : (minVolts + maxVolts) / 2;
}

/** One of a part that may be absent counts while that is seen and the rail is asked for, with all that it needs. */
function isAsked(rail: Rail): boolean {
  return rail.part === undefined || (isShown(rail.part) && isWanted(rail) && rail.needs.every(isAsked));
}

/** What tells the BMC of the rail: its good signal, or else its enable. */
function seemsGood(rail: Rail): boolean {
  if (rail.board.good === undefined) return rail.enable !== undefined && isAsserted(rail.enable);
  return rail.goodNet === undefined ? withFaults(rail.goodFaults, rail.good) : netAsserted(rail.goodNet);
}

/** What all sources say together. */
export function pgoodSeen({ pgoodSources, takesAny }: Chassis): boolean {
  const says = pgoodSources.map((source) => source.says());
  return takesAny ? says.includes(true) : !says.includes(false);
}
