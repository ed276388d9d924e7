// A stand-in for OpenBMC's inventory, on the system bus: one item, whose Present is true or false, or is no boolean.
// Prints a line when the name is its own, and one for each time that it is asked.
//
//   node inventory-service.mjs [present|absent|text|refuses|hangs] [NAME]
import dbusNext from 'dbus-next';

const { Message, Variant } = dbusNext;
const [mode = 'present', name = 'xyz.openbmc_project.Inventory.Manager'] = process.argv.slice(2);
const PATH = '/xyz/openbmc_project/inventory/system/chassis/riser0';
const ITEM = 'xyz.openbmc_project.Inventory.Item';
const bus = dbusNext.systemBus();

bus.addMethodHandler((message) => {
  if (message.interface !== 'org.freedesktop.DBus.Properties' || message.member !== 'Get') return false;
  process.stdout.write('asked\n');
  const [asked, property] = message.body;
  const fail = (kind, text) =>
    bus.send(Message.newError(message, `org.freedesktop.DBus.Error.${kind}`, text));
  if (message.path !== PATH) fail('UnknownObject', `there is no object ${message.path}`);
  else if (asked !== ITEM || property !== 'Present')
    fail('UnknownProperty', `there is no ${asked}.${property}`);
  else if (mode === 'refuses') fail('AccessDenied', 'nobody is told');
  else if (mode === 'text') bus.send(Message.newMethodReturn(message, 'v', [new Variant('s', 'true')]));
  else if (mode !== 'hangs')
    bus.send(Message.newMethodReturn(message, 'v', [new Variant('b', mode === 'present')]));
  return true;
});
await bus.requestName(name, 0);
process.stdout.write('ready\n');
