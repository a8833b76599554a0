import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { LogOutput } from '../../src/cli/log-output.ts';

const MIB = 1 << 20;

/** A stream whose reader takes nothing until it is told to. */
class Unread extends EventEmitter {
  readonly isTTY: boolean = false;
  waiting: string[] = [];
  read: string[] = [];

  get writableLength(): number {
    return this.waiting.reduce((sum, { length }) => sum + length, 0);
  }

  write(text: string, _done: (error?: Error | null) => void): boolean {
    this.waiting.push(text);
    return false;
  }

  readAll(): void {
    this.read.push(...this.waiting.splice(0));
    this.emit('drain');
  }
}

/** Two ends of a connection on this host. */
async function connectedPair(): Promise<[reader: Socket, writer: Socket]> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const reader = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [writer] = (await once(server, 'connection')) as [Socket];
  server.close();
  return [reader, writer];
}

describe('where the log goes', () => {
  it('keeps a megabyte for a reader that does not read, loses the rest and counts it', () => {
    const stream = new Unread();
    const output = new LogOutput(stream, () => {});
    const line = `${'x'.repeat(1023)}\n`;
    for (let i = 0; i < 2000; i++) output.write(line);
    assert.equal(stream.writableLength, MIB);
    assert.equal(output.lost, 2000 - 1024);
  });

  it('says once how many were lost, when it is read again', () => {
    const stream = new Unread();
    const said: number[] = [];
    const output = new LogOutput(stream, (lost) => {
      said.push(lost);
      output.write('lost some\n');
    });
    stream.readAll();
    for (let i = 0; i < 3; i++) output.write('x'.repeat(MIB));
    assert.deepEqual(said, []);
    stream.readAll();
    stream.readAll();
    assert.deepEqual(said, [2]);
    assert.deepEqual(
      stream.read.map((text) => text.length),
      [MIB, 'lost some\n'.length],
    );
    assert.equal(output.lost, 2);
  });

  it('counts each line that is lost to a reader that went away, and goes on', async () => {
    const [reader, writer] = await connectedPair();
    const errors: unknown[] = [];
    const output = new LogOutput(writer, () => {});
    writer.on('error', (error) => errors.push(error));
    output.write('read\n');
    await once(reader, 'data');
    reader.destroy();
    await once(writer, 'close');
    for (let i = 0; i < 5; i++) output.write('lost\n');
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(output.lost, 5);
  });

  it('waits for its last words until they are read, and not for ever', async () => {
    const stream = new Unread();
    const output = new LogOutput(stream, () => {});
    output.write('last words\n');
    await output.flush(50);
    assert.deepEqual(stream.read, []);
    setTimeout(() => stream.readAll(), 20);
    await output.flush(60_000);
    assert.deepEqual(stream.read, ['last words\n']);
  });
});
