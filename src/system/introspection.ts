import { escapeXml } from '../xml.ts';
import type { DbusArgument, ServedInterface } from './ports.ts';

const DOCTYPE =
  '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">';

/**
 * The answer to `Introspect` (D-Bus specification, "Introspection Data Format"): the interfaces of an object, and the names
 * of the nodes right below it.
 */
export function introspect(interfaces: readonly ServedInterface[], children: Iterable<string>): string {
  return [
    DOCTYPE,
    element('node', {}, [
      ...interfaces.map(describeInterface),
      ...[...children].map((name) => element('node', { name })),
    ]),
    '',
  ].join('\n');
}

function describeInterface({ name, methods, properties, signals }: ServedInterface): string {
  const argumentsOf = (args: readonly DbusArgument[], direction?: string) =>
    args.map(({ name, signature: type }) => element('arg', { name, type, direction }));
  return element('interface', { name }, [
    ...Object.entries(methods).map(([name, method]) =>
      element('method', { name }, [...argumentsOf(method.in, 'in'), ...argumentsOf(method.out, 'out')]),
    ),
    ...Object.entries(signals).map(([name, { args }]) => element('signal', { name }, argumentsOf(args))),
    ...Object.entries(properties).map(([name, { signature: type, write, emits }]) =>
      element('property', { name, type, access: write === undefined ? 'read' : 'readwrite' }, [
        element('annotation', {
          name: 'org.freedesktop.DBus.Property.EmitsChangedSignal',
          value: emits === 'change' ? 'true' : 'false',
        }),
      ]),
    ),
  ]);
}

/** @param attributes those without a value are left out */
function element(
  name: string,
  attributes: Readonly<Record<string, string | undefined>>,
  content: readonly string[] = [],
): string {
  const written = Object.entries(attributes).flatMap(([key, value]) =>
    value === undefined ? [] : [` ${key}="${escapeXml(value)}"`],
  );
  const start = `<${name}${written.join('')}`;
  if (content.length === 0) return `${start}/>`;
  const indented = content.map((text) => text.replaceAll(/^/gm, '  '));
  return [`${start}>`, ...indented, `</${name}>`].join('\n');
}
