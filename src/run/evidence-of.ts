import type { EnableBoard, GoodBoard } from '../board/schema.ts';
import { isSensor } from '../board/sensor-ref.ts';
import type { Evidence } from './evidence.ts';

/** What was said of a part of a rail: by its page, or by the input of a chip that shows the rail; undefined where nothing was. */
export function evidenceOf(
  rail: string,
  part: EnableBoard | GoodBoard | undefined,
  evidence: readonly Evidence[],
): Evidence | undefined {
  if (part === undefined) return undefined;
  if (isSensor(part)) return evidence.find(({ page, rails }) => page === null && Object.hasOwn(rails, rail));
  if (!('pmbus' in part)) return undefined;
  return evidence.find(({ device, page }) => device === part.pmbus && page === part.page);
}
