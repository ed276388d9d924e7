/**
 * How a power button is used. `short`: pressed and let go, for the host to come on, or to shut down by itself. `hold`: pressed
 * until the host is off, whatever it does.
 */
export type PressKind = 'short' | 'hold';

/**
 * The presses that switch a rail on, or off; each one only where those before it have not done so. None where it is so already:
 * a press of a host that is off switches it on.
 * @param mayBeOn it is shown to be on, or may be on though nothing shows it
 * @param isGraceful of a rail that is to go off: its host is given the time to shut down by itself
 */
export function pressesFor(asserted: boolean, mayBeOn: boolean, isGraceful: boolean): readonly PressKind[] {
  if (asserted === mayBeOn) return [];
  if (asserted) return ['short'];
  return isGraceful ? ['short', 'hold'] : ['hold'];
}
