import * as v from 'valibot';
import { interfaceName, objectPath, propertyName, serviceName } from './property.ts';
import { CHIP_LINE, chipLine, choose, expects, i2cPlace, namedLine } from './values.ts';

/** A boolean property on D-Bus. Its defaults are those of phosphor-dbus-interfaces (xyz/openbmc_project/Inventory/Item.interface.yaml). */
const inventoryItem = {
  inventory: v.pipe(
    objectPath('/xyz/openbmc_project/inventory/system/chassis/riser0'),
    v.description(
      'Path of the object on the system bus that stands for the part: the part is there while its property is true',
    ),
  ),
  service: v.pipe(
    v.optional(serviceName('xyz.openbmc_project.EntityManager'), 'xyz.openbmc_project.Inventory.Manager'),
    v.description('Name of the service that has the object'),
  ),
  interface: v.pipe(
    v.optional(interfaceName('xyz.openbmc_project.Inventory.Item'), 'xyz.openbmc_project.Inventory.Item'),
    v.description('Interface of the property'),
  ),
  property: v.pipe(
    v.optional(propertyName('Present'), 'Present'),
    v.description('The property, a boolean or a number that is not 0'),
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
