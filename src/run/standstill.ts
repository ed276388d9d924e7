/**
 * Where a level has to stand for some time, or an answer is awaited, a process looks at the clock this often. What it
 * finds missing is time in which it did not run.
 */
export const TURN_MS = 20;
/** So late a process has stood still. Far above the lateness of timers on a loaded BMC, and a fraction of any glitch. */
export const STALL_MS = 50;
