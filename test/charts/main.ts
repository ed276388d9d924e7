import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chartFiles } from './files.ts';
import { MACHINES } from './machines.ts';

const [dir = ''] = process.argv.slice(2);
mkdirSync(dir, { recursive: true });
for (const [name, machine] of Object.entries(MACHINES)) {
  for (const [file, text] of Object.entries(await chartFiles(name, machine))) {
    writeFileSync(join(dir, file), text);
    console.log(join(dir, file));
  }
}
