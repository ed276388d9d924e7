import { describe, expect, it } from 'vitest';
import { callerOf } from '../../src/system/caller.ts';

const files = (texts: Readonly<Record<string, string>>, userName = () => 'root') => ({
  read: (name: string) => texts[name] ?? null,
  userName,
  ppid: 812,
});
const OWN = { SYSTEMD_EXEC_PID: String(process.pid) };

describe('who runs this process', () => {
  it.each([
    [
      'the unit that it is',
      OWN,
      '0::/system.slice/system-op.slice/op-power-start@0.service\n',
      'op-power-start@0.service',
    ],
    [
      'the unit, of several hierarchies',
      OWN,
      '2:cpu:/x\n1:name=systemd:/a\n0::/system.slice/a@1.service',
      'a@1.service',
    ],
    ['a user of a session', {}, '0::/user.slice/user-0.slice/session-3.scope\n', 'root from bash'],
    ['the user behind sudo', { SUDO_USER: 'ada' }, '0::/user.slice/session-3.scope\n', 'ada from bash'],
    [
      'somebody on a console',
      {},
      '0::/system.slice/serial-getty@ttyS4.service\n',
      'root from bash in serial-getty@ttyS4.service',
    ],
  ])('is %s', (_, env, cgroup, expected) => {
    expect(callerOf(env, files({ 'self/cgroup': cgroup, '812/comm': 'bash\n' }))).toBe(expected);
  });

  it('is a number where the user has no name, and nobody is seen above', () => {
    const nameless = () => {
      throw new Error('no entry');
    };
    expect(callerOf({}, files({}, nameless))).toBe(`uid ${process.geteuid?.()}`);
  });
});
