// A stand-in for OpenBMC's event log, on the system bus. Takes what phosphor-logging takes, and prints each entry as a
// line of JSON with the time of its arrival on the monotonic clock.
//
//   node logging-service.mjs [answers|hangs]
import dbusNext from 'dbus-next';

const NAME = 'xyz.openbmc_project.Logging';
const PATH = '/xyz/openbmc_project/logging';
const LEVEL =
  /^xyz\.openbmc_project\.Logging\.Entry\.Level\.(Emergency|Alert|Critical|Error|Warning|Notice|Informational|Debug)$/;

const [mode = 'answers'] = process.argv.slice(2);
const bus = dbusNext.systemBus();
let entries = 0;

function problemOf({ path, interface: name, member, signature, body }) {
  if (path !== PATH || name !== `${NAME}.Create` || member !== 'Create')
    return `no ${name}.${member} at ${path}`;
  if (signature !== 'ssa{ss}') return `Create takes ssa{ss}, not ${signature}`;
  if (!LEVEL.test(body[1])) return `no level ${body[1]}`;
  return null;
}

bus.addMethodHandler((message) => {
  if (!message.interface?.startsWith(NAME)) return false;
  const problem = problemOf(message);
  if (problem !== null) {
    bus.send(dbusNext.Message.newError(message, 'org.freedesktop.DBus.Error.InvalidArgs', problem));
    return true;
  }
  const [name, severity, data] = message.body;
  const atUs = Number(process.hrtime.bigint() / 1000n);
  process.stdout.write(`${JSON.stringify({ atUs, name, severity, data })}\n`);
  entries += 1;
  if (mode === 'answers')
    bus.send(dbusNext.Message.newMethodReturn(message, 'o', [`${PATH}/entry/${entries}`]));
  return true;
});
await bus.requestName(NAME, 0);
process.stdout.write('ready\n');
