// Changes the rooms that decide about power in every way that Stryker knows, and tells which changes no test notices. Takes
// an hour or more on two cores; what it found before is kept in build/mutants and not tried again.
import { join } from 'node:path';
import { ensureModules, ensurePrograms, root, run } from './setup.mjs';

ensureModules();
ensurePrograms({ flock: 'util-linux', 'dbus-daemon': 'dbus', busctl: 'systemd', gdbus: 'libglib2.0-bin' });
run(
  join(root, 'node_modules', '.bin', 'stryker'),
  ['run', 'test/mutants/stryker.config.json', ...process.argv.slice(2)],
  {
    timeoutMs: 6 * 3_600_000,
  },
);
