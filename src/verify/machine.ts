import { nextDeadlineMs, pgoodDeadline, railDeadline, readingsDue } from '../sequence/deadlines.ts';
import { observeTransitions, step, takeUp, transitionNames } from '../sequence/machine.ts';
import { pressesFor } from '../sequence/presses.ts';
import { isFresh } from '../sequence/readings.ts';
import { reconcile } from '../sequence/reconcile.ts';

/** The machine that runs on the BMC, as verification calls it. Tests put one with a deliberate defect in its place. */
export const MACHINE = {
  step,
  takeUp,
  reconcile,
  nextDeadlineMs,
  readingsDue,
  railDeadline,
  pgoodDeadline,
  isFresh,
  pressesFor,
  transitionNames,
  observeTransitions,
};
export type Machine = typeof MACHINE;
