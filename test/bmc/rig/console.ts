/** What the console of a guest says when it will never come up. */

/** How much of the console goes into the message. */
const LAST_LINES = 15;

const FATAL: readonly (readonly [sign: RegExp, what: string])[] = [
  [
    /rig: no \/dev\/mmcblk0|mmcblk0: .*No such file|VFS: (Unable to mount|Cannot open) root/,
    'it has no disk',
  ],
  [/Kernel panic - not syncing/, 'its kernel panicked'],
  [/reboot: (Power down|System halted)/, 'it switched itself off'],
  [/You are in (emergency|rescue) mode/, 'systemd gave up and asks for a password'],
  [/^(\(initramfs\)|~ #|\/ #)/m, 'it stands at a shell in its initramfs'],
];

/**
 * What ended the boot of which `text` is the console, with its last lines; null while it may still come up. The first
 * sign that fits is the cause of those after it.
 */
export function consoleFailure(text: string): string | null {
  const found = FATAL.find(([sign]) => sign.test(text));
  if (found === undefined) return null;
  const lines = text.trimEnd().split(/\r?\n/).slice(-LAST_LINES);
  return `${found[1]}. Its console ends with:\n${lines.join('\n')}`;
}
