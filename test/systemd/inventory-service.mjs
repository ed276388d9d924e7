// A stand-in for OpenBMC's inventory, on the system bus: one item, whose Present is true or false, a number or a text.
// Prints a line when the name is its own, and one for each time that it is asked. After SIGUSR1 it is true, after
// SIGUSR2 false, and it tells so.
//
//   node inventory-service.mjs [present|absent|two|nought|text|refuses|hangs] [NAME]
import dbusNext from 'dbus-next';

const { Message, Variant } = dbusNext;
const [mode = 'present', name = 'xyz.openbmc_project.Inventory.Manager'] = process.argv.slice(2);
const PATH = '/xyz/openbmc_project/inventory/system/chassis/riser0';
const ITEM = 'xyz.openbmc_project.Inventory.Item';
const bus = dbusNext.systemBus();
let isPresent = mode === 'present';

const answer = (message, type, value) =>
  bus.send(Message.newMethodReturn(message, 'v', [new Variant(type, value)]));

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
  else if (mode === 'text') answer(message, 's', 'true');
  else if (mode === 'two' || mode === 'nought') answer(message, 'i', mode === 'two' ? 2 : 0);
  else if (mode !== 'hangs') answer(message, 'b', isPresent);
  return true;
});
const tell = (value) => {
  isPresent = value;
  const body = [ITEM, { Present: new Variant('b', value) }, []];
  bus.send(Message.newSignal(PATH, 'org.freedesktop.DBus.Properties', 'PropertiesChanged', 'sa{sv}as', body));
};
process.on('SIGUSR1', () => tell(true));
process.on('SIGUSR2', () => tell(false));
await bus.requestName(name, 0);
process.stdout.write('ready\n');
