import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createLogger } from '../../src/cli/logger.ts';
import type { Config } from '../../src/config/schema.ts';

function written(log: Config['log'], isTTY: boolean): string {
  let text = '';
  const output = {
    isTTY,
    write(part: string) {
      text += part;
    },
  };
  const logger = createLogger(log, output);
  logger.debug('hidden');
  logger.warn({ path: 'services[0]' }, 'shown');
  return text;
}

function isJson(text: string): boolean {
  return text.startsWith('{');
}

describe('the log', () => {
  it('is one JSON object a line with level and time in words', () => {
    const before = Date.now();
    const line = JSON.parse(written({ level: 'info', format: 'json' }, true));
    assert.equal(line.level, 'warn');
    assert.equal(line.msg, 'shown');
    assert.equal(line.path, 'services[0]');
    assert.ok(Date.parse(line.time) >= before && Date.parse(line.time) <= Date.now(), line.time);
  });

  it('is pretty on a terminal and JSON elsewhere when the format is auto', () => {
    assert.ok(!isJson(written({ level: 'info', format: 'auto' }, true)));
    assert.ok(isJson(written({ level: 'info', format: 'auto' }, false)));
  });

  it('is pretty without colors when pretty is asked for and there is no terminal', () => {
    const text = written({ level: 'info', format: 'pretty' }, false);
    assert.match(text, /WARN: shown\n {4}path: "services\[0\]"\n$/);
    assert.ok(!text.includes('\u001b'));
  });

  it('holds what the level asks for', () => {
    assert.match(written({ level: 'debug', format: 'json' }, false), /hidden/);
    assert.doesNotMatch(written({ level: 'info', format: 'json' }, false), /hidden/);
    assert.equal(written({ level: 'error', format: 'json' }, false), '');
  });
});
