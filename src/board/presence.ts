import * as v from 'valibot';
import { isInterfaceName, isMemberName, isObjectPath, isWellKnownName } from '../dbus-names.ts';
import { CHIP_LINE, chipLine, choose, expects, i2cPlace, namedLine } from './values.ts';

const nameOnBus = (wanted: string, example: string, is: (text: string) => boolean) =>
  expects('text', wanted, `"${example}"`, v.pipe(v.string(), v.check(is, 'is none on D-Bus')));

const ITEM_PATH = '/xyz/openbmc_project/inventory/system/chassis/riser0';

/** A boolean property on D-Bus. Its defaults are those of phosphor-dbus-interfaces (xyz/openbmc_project/Inventory/Item.interface.yaml). */
const inventoryItem = {
  inventory: v.pipe(
    nameOnBus(
      'the path of an object on D-Bus, such as "/xyz/openbmc_project/inventory/…"',
      ITEM_PATH,
      (text) => isObjectPath(text) && text !== '/',
    ),
    v.description(
      'Path of the object on the system bus that stands for the part: the part is there while its property is true',
    ),
  ),
  service: v.pipe(
    v.optional(
      nameOnBus('the name of a service on D-Bus', 'xyz.openbmc_project.EntityManager', isWellKnownName),
      'xyz.openbmc_project.Inventory.Manager',
    ),
    v.description('Name of the service that has the object'),
  ),
  interface: v.pipe(
    v.optional(
      nameOnBus('the name of an interface on D-Bus', 'xyz.openbmc_project.Inventory.Item', isInterfaceName),
      'xyz.openbmc_project.Inventory.Item',
    ),
    v.description('Interface of the property'),
  ),
  property: v.pipe(
    v.optional(nameOnBus('the name of a property on D-Bus', 'Present', isMemberName), 'Present'),
    v.description('The property, a boolean'),
  ),
};

/** How the part that a rail is of is seen to be there. */
export const presence = expects(
  'object',
  'a line, by "chip" and "line" or by "name", or an I2C device that answers, by "bus" and "address", or an item of the inventory on D-Bus, by "inventory"',
  CHIP_LINE,
  choose(
    ['chip', v.strictObject(chipLine)],
    ['name', v.strictObject(namedLine)],
    ['bus', v.strictObject(i2cPlace)],
    ['inventory', v.strictObject(inventoryItem)],
  ),
);
