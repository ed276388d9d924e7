import { type SysfsFiles, sysfsFiles } from './sysfs.ts';

/**
 * What the kernel shows now of lines that are exported, as a text that is another one when a level, an inversion or an export
 * is another. Null where that cannot be told; whoever opens the lines finds out why. Nothing is taken, exported or driven.
 * @param keys the lines' `LinePlace.key`
 */
export async function pictureOf(
  keys: readonly string[],
  {
    root = '/sys/class/gpio',
    files = sysfsFiles,
  }: { readonly root?: string; readonly files?: SysfsFiles } = {},
): Promise<string | null> {
  try {
    const lines = await Promise.all(
      keys.map(async (key) => {
        const folder = `${root}/gpio${key}`;
        const [level, inversion] = await Promise.all(
          ['value', 'active_low'].map((file) => files.readAttribute(`${folder}/${file}`)),
        );
        return [key, files.identity(folder), inversion?.trim(), level?.trim()].join(' ');
      }),
    );
    return lines.join('\n');
  } catch {
    return null;
  }
}
