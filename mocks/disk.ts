import { dirname } from 'node:path';
import type { Disk } from '../hw/disk.ts';
import { StrangeFile } from '../hw/files.ts';
import { systemError } from './backends/system-error.ts';

/** A write of a disk, at each of which its power may be cut. */
export type DiskStep = 'make' | 'create' | 'write' | 'sync' | 'rename' | 'remove' | 'syncDirectory';

/** What a disk does in the place of a step: it fails with an errno, never answers, or loses its power after it. */
export type DiskTrouble = { readonly errno: string } | 'hangs' | 'cut';

export interface MemoryDisk extends Disk {
  /** Asked at each step; null lets it happen. */
  trouble: (step: DiskStep, path: string) => DiskTrouble | null;
  /** Steps so far. */
  readonly steps: readonly { readonly step: DiskStep; readonly path: string }[];
  /** Every file with its text. */
  files(): Readonly<Record<string, string>>;
  /** Puts a file there, as somebody else would. */
  put(path: string, text: string): void;
  /**
   * What a loss of power now leaves. A file that was not synced has any beginning of its text, or as many zeros; of what was
   * done to the names of a directory since it was synced each step may have come through or not.
   * @param pick a number from 0 to `most`: what comes of each doubt
   */
  afterCut(pick: (most: number) => number): MemoryDisk;
}

interface Inode {
  text: string;
  synced: boolean;
}

/** A change of the names in a directory. */
type NameStep =
  | { readonly step: 'name'; readonly path: string; readonly inode: Inode }
  | { readonly step: 'rename'; readonly from: string; readonly to: string; readonly inode: Inode }
  | { readonly step: 'remove'; readonly path: string };

/** What is in a disk: the files that a program sees, and those that are there for good. */
interface Content {
  readonly directories: Set<string>;
  readonly live: Map<string, Inode>;
  readonly durable: Map<string, Inode>;
  /** Changes of names that a loss of power may undo. */
  pending: NameStep[];
}

function contentOf(files: Readonly<Record<string, string>>): Content {
  const content: Content = { directories: new Set(), live: new Map(), durable: new Map(), pending: [] };
  for (const [path, text] of Object.entries(files)) putInto(content, path, text);
  return content;
}

function putInto({ directories, live, durable }: Content, path: string, text: string): void {
  const inode = { text, synced: true };
  directories.add(dirname(path));
  live.set(path, inode);
  durable.set(path, inode);
}

/** A disk in memory, which fulfils the contract of `Disk` and can lose its power. */
export function createMemoryDisk(files: Readonly<Record<string, string>> = {}): MemoryDisk {
  const content = contentOf(files);
  const { live } = content;
  const steps: { step: DiskStep; path: string }[] = [];
  let isCut = false;
  const never = () => new Promise<never>(() => undefined);

  const at: At = async (step, path, act) => {
    if (isCut) return never();
    const trouble = disk.trouble(step, path);
    if (trouble === 'hangs') return never();
    if (trouble !== null && trouble !== 'cut') throw systemError(trouble.errno);
    steps.push({ step, path });
    act();
    if (trouble !== 'cut') return;
    isCut = true;
    return never();
  };
  const disk: MemoryDisk = {
    ...callsOn(content, at),
    trouble: () => null,
    steps,
    files: () => Object.fromEntries([...live].map(([path, { text }]) => [path, text])),
    put: (path, text) => putInto(content, path, text),
    afterCut: (pick) => createMemoryDisk(survivors(content, pick)),
  };
  return disk;
}

/** Carries out a step, unless the disk has another idea. */
type At = (step: DiskStep, path: string, act: () => void) => Promise<void>;

function callsOn(content: Content, at: At): Disk {
  const { directories, live } = content;
  const expectThere = (path: string): Inode => {
    const inode = live.get(path);
    if (inode === undefined) throw systemError('ENOENT');
    return inode;
  };
  return {
    makeDirectory: (path) => at('make', path, () => void directories.add(path)),
    async list(directory) {
      return [...live.keys()]
        .filter((path) => dirname(path) === directory)
        .map((path) => path.slice(directory.length + 1));
    },
    async read(path, maxBytes) {
      const { text } = expectThere(path);
      if (Buffer.byteLength(text) > maxBytes)
        throw new StrangeFile('FILE_STRANGE', `it is longer than ${maxBytes} bytes`, { path });
      return text;
    },
    async create(path, text) {
      if (!directories.has(dirname(path))) throw systemError('ENOENT');
      if (live.has(path)) throw systemError('EEXIST');
      const inode: Inode = { text: '', synced: false };
      await at('create', path, () => {
        live.set(path, inode);
        content.pending.push({ step: 'name', path, inode });
      });
      await at('write', path, () => {
        inode.text = text;
      });
      await at('sync', path, () => {
        inode.synced = true;
      });
    },
    async rename(from, to) {
      const inode = expectThere(from);
      await at('rename', to, () => {
        live.delete(from);
        live.set(to, inode);
        content.pending.push({ step: 'rename', from, to, inode });
      });
    },
    async remove(path) {
      if (!live.has(path)) return;
      await at('remove', path, () => {
        live.delete(path);
        content.pending.push({ step: 'remove', path });
      });
    },
    syncDirectory: (path) =>
      at('syncDirectory', path, () => {
        for (const change of content.pending) apply(content.durable, change);
        content.pending = [];
      }),
  };
}

/** Files that a loss of power leaves. */
function survivors({ durable, pending }: Content, pick: (most: number) => number): Record<string, string> {
  const names = new Map(durable);
  for (const change of pending) if (pick(1) === 1) apply(names, change);
  return Object.fromEntries(
    [...names].map(([path, { text, synced }]) => {
      if (synced) return [path, text];
      const beginning = text.slice(0, pick(text.length));
      return [path, pick(1) === 1 ? beginning : '\0'.repeat(beginning.length)];
    }),
  );
}

function apply(names: Map<string, Inode>, change: NameStep): void {
  if (change.step === 'name') names.set(change.path, change.inode);
  else if (change.step === 'remove') names.delete(change.path);
  else {
    names.delete(change.from);
    names.set(change.to, change.inode);
  }
}
