// Nobody reads the log: a terminal that is paused, a pipe to a program that stopped, a journal that is stuck.
// Nothing waits for it, neither the start, nor a scrape, nor the end.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { nodeArgv } from '../../src/lab/programs.ts';
import { MAIN, startPython, startRig, until } from './harness.ts';

for (const kind of ['terminal', 'pipe', 'socket']) {
  test(`a ${kind} that nobody reads keeps the proxy from nothing`, async (t) => {
    const rig = await startRig(t);
    await rig.startServers();
    await rig.proxy.stop();
    const argv = nodeArgv(MAIN, 'run', '--config', join(rig.topology.scratch, 'proxy.yaml'));
    const start = () => startPython(rig.topology, 'lb', 'unread_output.py', kind, ...argv);
    // The rig's proxy only lends its way to ask.
    const isReady = async () => (await rig.proxy.get('/readyz')).status === 200;

    const unread = start();
    await until('it is ready', isReady);
    const { answered, altered } = await rig.clients({ portsPerAddress: 2, count: 100, sizes: [64] });
    assert.deepEqual({ answered, altered }, { answered: 100, altered: 0 });
    assert.equal(await rig.metric('log_lines_lost_total'), 0, 'a few lines wait');
    unread.child.stdin!.write('stop\n');
    const unreadEnd = await unread.result;
    assert.equal(unreadEnd.code, 0);

    const read = start();
    await until('it is ready', isReady);
    read.child.stdin!.write('read\n');
    read.child.stdin!.write('stop\n');
    const { code, text } = await read.result;
    assert.equal(code, 0);
    assert.match(String(text), /"msg":"ready"(.|\n)*"msg":"stopped"/, 'what waited is read, in order');
  });
}
