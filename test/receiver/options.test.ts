// What the receiver is told, in a file or on the command line, and what is wrong with it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { renderMarkdownTable } from '../../src/config/describe.ts';
import {
  loadReceiverConfig,
  needRestart,
  RECEIVER_SCHEMA,
  readReceiverOptions,
} from '../../src/config/receiver-schema.ts';
import { PROGRAM } from '../cli/program.ts';

const none = {
  from: undefined,
  cgroup: undefined,
  self: undefined,
  maxClients: undefined,
  idle: undefined,
  listen: undefined,
};
const read = (given: object) => readReceiverOptions({ ...none, ...given });

describe('options', () => {
  test('are what the file says, with its defaults', () => {
    assert.deepEqual(read({ from: ['10.2.0.200', 'fd00::/64'], self: true, listen: '[::1]:9999' }), {
      from: ['10.2.0.200/32', 'fd00::/64'],
      cgroups: [],
      self: true,
      maxClients: 262_144,
      idle: 360_000,
      acksPerSecond: 50_000,
      admin: { listen: { host: '::1', port: 9999 } },
      log: { level: 'info', format: 'auto' },
    });
  });

  test('need somebody to believe, and a cgroup, by name or its own', () => {
    const problemsOf = (given: object) => {
      try {
        read(given);
      } catch (error) {
        return (error as { problems: { path: string; message: string }[] }).problems;
      }
      return [];
    };
    assert.match(problemsOf({ self: true })[0]!.message, /is missing, expected a list/);
    assert.equal(problemsOf({ self: true })[0]!.path, '--from');
    assert.deepEqual(problemsOf({ from: ['10.0.0.1'] }), [
      { path: '--cgroup', message: 'is missing, expected the path of a cgroup, or self' },
    ]);
    assert.equal(problemsOf({ from: ['10.0.0.1'], self: true, cgroup: ['/x'] })[0]!.path, '--self');
  });
});

test('the example is right, and the page has all keys', () => {
  const example = new URL('../../docker/receiver/receiver.yaml', import.meta.url);
  assert.equal(loadReceiverConfig(example.pathname).cgroups.length, 1);
  const page = readFileSync(new URL('../../docs/receiver.md', import.meta.url), 'utf8');
  assert.ok(page.includes(renderMarkdownTable(RECEIVER_SCHEMA)), 'npm run docs');
});

test('what a reload cannot change is named', () => {
  const config = read({ from: ['10.0.0.1'], self: true });
  const after = { ...config, maxClients: 1, idle: 1, log: { ...config.log, format: 'json' as const } };
  assert.deepEqual(needRestart(config, after), ['maxClients', 'log.format']);
});

test('without rights it says which are missing', () => {
  const argv = [...UNPRIVILEGED, ...PROGRAM, 'receiver', '--from', '10.0.0.1', '--self'];
  const { status, stderr } = spawnSync('setpriv', argv, { encoding: 'utf8' });
  assert.equal(status, 1);
  assert.match(stderr, /the receiver needs CAP_BPF, CAP_NET_RAW, which this process does not have\nHint: /);
});

const UNPRIVILEGED = [
  ...['--reuid', 'nobody', '--regid', 'nogroup', '--clear-groups'],
  ...['--inh-caps', '+net_admin', '--ambient-caps', '+net_admin'],
];
