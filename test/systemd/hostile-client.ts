/**
 * A process on the system bus that means no good, for a user who may read and nothing else. It is bundled and run in
 * the sandbox, and says on its output what came of it.
 */
import {
  CALL,
  encodeBody,
  type Frame,
  int32,
  signatureOf,
  type Typed,
  text,
  variant,
} from '../unit/dbus-frames.ts';
import { connectHostile } from '../unit/dbus-hostile.ts';

const BUS = 'unix:path=/run/dbus/system_bus_socket';
/**
 * `huge BYTES`: sends calls of that size, one after the other. `many COUNT`: sends so many small calls at once, again
 * and again. Both until they are ended. `ask FRAMES`: sends each of them (JSON).
 */
const [mode, argument = ''] = process.argv.slice(2);

/** What costs most to read: values of any type, each with its signature, of so many bytes in all. */
const variants = (bytes: number): Typed => ({
  signature: 'av',
  value: undefined,
  write: (writer) => writer.array(1, () => writer.raw(Buffer.alloc(bytes, encodeBody([variant(int32(1))])))),
});

const say = (line: unknown) => process.stdout.write(`${JSON.stringify(line)}\n`);
const client = await connectHostile(process.env.DBUS_SYSTEM_BUS_ADDRESS ?? BUS);

if (mode === 'ask') {
  for (const frame of JSON.parse(argument) as Frame[]) {
    const { type, errorName, sender } = await client.ask(frame);
    say({ type, errorName, sender });
  }
  client.close();
} else {
  const isHuge = mode === 'huge';
  const values: Typed[] = isHuge ? [variants(Number(argument))] : [text('')];
  const frame: Frame = {
    type: CALL,
    destination: 'org.openbmc.control.Power',
    path: '/org/openbmc/control/power0',
    // Everybody may read, so the bus lets it through.
    interface: 'org.freedesktop.DBus.Properties',
    member: isHuge ? 'Get' : 'GetAll',
    signature: signatureOf(values),
    body: encodeBody(values),
  };
  for (;;) {
    const answers = await Promise.all(
      Array.from({ length: isHuge ? 1 : Number(argument) }, () => client.ask(frame)),
    );
    const [{ type, errorName } = { type: 0, errorName: undefined }] = answers;
    say({ type, errorName });
  }
}
