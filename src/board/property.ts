import * as v from 'valibot';
import { BOARD_RULES } from './rules.ts';
import { expects } from './values.ts';

/** Properties of other services on D-Bus. */

const nameOnBus = (wanted: string, example: string, is: (text: string) => boolean) =>
  expects('text', wanted, `"${example}"`, v.pipe(v.string(), v.check(is, 'is none on D-Bus')));

export const objectPath = (example: string) =>
  nameOnBus(
    `the path of an object on D-Bus, such as "${example.split('/').slice(0, 4).join('/')}/…"`,
    example,
    BOARD_RULES.isPathOfObject,
  );
export const serviceName = (example: string) =>
  nameOnBus('the name of a service on D-Bus', example, BOARD_RULES.isWellKnownName);
export const interfaceName = (example: string) =>
  nameOnBus('the name of an interface on D-Bus', example, BOARD_RULES.isInterfaceName);
export const propertyName = (example: string) =>
  nameOnBus('the name of a property on D-Bus', example, BOARD_RULES.isMemberName);

/** A property that tells whether something is good. */
export const byProperty = {
  dbus: v.pipe(
    objectPath('/com/example/sequencer/chassis0'),
    v.description('Path of an object on the system bus, of which a property tells'),
  ),
  service: v.pipe(
    serviceName('com.example.Sequencer'),
    v.description('Name of the service that has the object'),
  ),
  interface: v.pipe(interfaceName('com.example.Power'), v.description('Interface of the property')),
  property: v.pipe(
    propertyName('Good'),
    v.description('The property: a boolean, or a whole number, which is good where it is not 0'),
  ),
};
export const BY_PROPERTY = 'a property on D-Bus, by "dbus", "service", "interface" and "property"';

const part = v.strictObject(byProperty);
export type PropertyPart = v.InferOutput<typeof part>;
