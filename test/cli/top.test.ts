import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { startSample } from '../admin/sample.ts';
import { uoaProxyBeside, uoaProxyOnTerminal } from './ctl-program.ts';

const ESC = '\u001b';
const ENTER = `${ESC}[?1049h${ESC}[?25l`;
const LEAVE = `${ESC}[?25h${ESC}[?1049l`;
const ESCAPES = new RegExp(`${ESC}\\[[?0-9;]*[a-zA-Z]`, 'g');
const FRAME = `\
uoa-proxy 1.2.3, up TIME, pcap, 2 workers: serving 2 services

PER SECOND               PACKETS  BITS  SENT ON
clients -> real servers        0     0        0
real servers -> clients        0     0        0
sessions  0 normal, 0 oneway, of 5.0k
          0 opened/s, 0 expired/s, 0 evicted/s
UOA/s     0 inserted, 0 in carriers, 0 as headers, 0 acked, 0 failed
drops/s   0
lost/s    0 before they were seen, 0 refused by the kernel

SERVICE -> REAL SERVER       WEIGHT  STATE  ACTIVE  INACTIVE  IN/s  OUT/s
game  [fd00:1::100]:6000  10.1.0.100:6000  rr
  -> 10.2.0.11:6000             100  up          0         0     0      0
  -> 10.2.0.9:6000 fallback       0  up          0         0     0      0
10.1.0.100:6001  rr
  -> 10.2.0.12:6000             100  up          0         0     0      0
  -> [fd00:2::12]:6000          100  up          0         0     0      0
`;

const withoutTime = (text: string) => text.replace(/up \d+\w \d+\w/, 'up TIME');

describe('top', () => {
  for (const args of [[], ['--once']]) {
    it(`${args.join(' ')} prints one frame where there is no terminal`, async (t) => {
      const admin = await startSample(t);
      const { code, stdout, stderr } = await uoaProxyBeside(t, 'top', '--admin', admin.url(''), ...args);
      assert.deepEqual([code, stderr], [0, '']);
      assert.equal(withoutTime(stdout), FRAME);
    });
  }

  for (const [name, key] of [
    ['q', 'q'],
    ['Ctrl-C', '\u0003'],
  ] as const) {
    it(`fills an 80 by 24 terminal without wrapping until ${name}, and gives the screen back`, async (t) => {
      const admin = await startSample(t);
      const terminal = uoaProxyOnTerminal(t, 'stty rows 24 cols 80', 'top', '--admin', admin.url(''));
      await terminal.shows(/IN\/s[\s\S]*IN\/s/); // a second frame, which has rates
      terminal.type(key);
      assert.equal(await terminal.ended, 0);
      const text = terminal.text();
      assert.ok(text.includes(ENTER));
      assert.ok(text.endsWith(LEAVE), JSON.stringify(text.slice(-40)));
      const frames = framesOf(text);
      assert.ok(frames.length >= 2);
      for (const lines of frames) {
        assert.ok(lines.length <= 24);
        for (const line of lines) assert.ok(line.length <= 80, line);
      }
      assert.equal(withoutTime(`${frames.at(-1)!.join('\n')}\n`), FRAME);
    });
  }

  it('follows the size of the terminal', async (t) => {
    const admin = await startSample(t);
    const folder = mkdtempSync(join(tmpdir(), 'uoa-top-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const fifo = join(folder, 'resize');
    assert.equal(spawnSync('mkfifo', [fifo]).status, 0);
    // stty sets one after the other anyway, and each is drawn: the height that is waited for comes last.
    const resize = `(cat '${fifo}'; stty cols 60 < /dev/tty; stty rows 10 < /dev/tty) & stty rows 24 cols 80`;
    const terminal = uoaProxyOnTerminal(t, resize, 'top', '--admin', admin.url(''));
    await terminal.shows(/OUT\/s/);
    const before = terminal.text().length;
    writeFileSync(fifo, '');
    await terminal.shows(/lines 1 to 9 of \d+: arrow keys/, before);
    terminal.type('q');
    assert.equal(await terminal.ended, 0);
    const last = framesOf(terminal.text()).at(-1)!;
    assert.equal(last.length, 10);
    for (const line of last) assert.ok(line.length <= 60, line);
  });

  it('scrolls where there is more than fits', async (t) => {
    const admin = await startSample(t);
    const terminal = uoaProxyOnTerminal(t, 'stty rows 10 cols 80', 'top', '--admin', admin.url(''));
    const total = FRAME.trimEnd().split('\n').length;
    await terminal.shows(new RegExp(`lines 1 to 9 of ${total}:`));
    for (const [key, first] of [
      ['\u001b[B', 2],
      ['j', 3],
      ['\u001b[A', 2],
      ['\u001b[6~', total - 8],
      ['\u001b[B', total - 8],
      ['b', total - 16],
      ['\u001b[5~', 1],
      ['k', 1],
    ] as const) {
      const from = terminal.text().length;
      terminal.type(key);
      await terminal.shows(new RegExp(`lines ${first} to ${first + 8} of ${total}:`), from);
    }
    const last = framesOf(terminal.text()).at(-1)!;
    assert.deepEqual(last.slice(0, 1).map(withoutTime), FRAME.split('\n').slice(0, 1));
    terminal.type('q');
    assert.equal(await terminal.ended, 0);
  });

  it('goes on when the proxy does not answer, and says so', async (t) => {
    const admin = await startSample(t);
    const terminal = uoaProxyOnTerminal(t, 'stty rows 24 cols 80', 'top', '--admin', admin.url(''));
    await terminal.shows(/OUT\/s/);
    const { reloads } = admin.sources;
    admin.sources.reloads = () => {
      throw new Error('cannot answer now');
    };
    await terminal.shows(/cannot answer now/);
    admin.sources.reloads = reloads;
    const from = terminal.text().length;
    await terminal.shows(/\[H(?:(?!cannot answer)[\s\S])*OUT\/s/, from);
    terminal.type('q');
    assert.equal(await terminal.ended, 0);
  });

  it('ends with 1 and the reason when there is no proxy, without touching the screen', async (t) => {
    const terminal = uoaProxyOnTerminal(t, 'true', 'top', '--admin', '127.0.0.1:1');
    assert.equal(await terminal.ended, 1);
    assert.match(terminal.text(), /^uoa-proxy: cannot reach the proxy at http:\/\/127\.0\.0\.1:1/);
  });
});

/** The lines of each frame, without colours. */
function framesOf(text: string): string[][] {
  return text
    .replace(LEAVE, '')
    .split('\u001b[H')
    .slice(1)
    .map((frame) => frame.replace(ESCAPES, '').split('\r\n'));
}
