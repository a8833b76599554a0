// No dead options: every key of the config is read by the product outside src/config. A dead key would be a
// promise that nothing keeps.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** The dotted keys in the first column of the generated table. */
const keys = [...readFileSync(join(ROOT, 'docs/config.md'), 'utf8').matchAll(/^\| `([^`]+)` \|/gm)].map(
  ([, key = '']) => key,
);

const source = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts') && !path.startsWith('config/'))
  .map((path) => readFileSync(join(ROOT, 'src', path), 'utf8'))
  .join('\n');

test('the table has the keys', () => {
  assert.ok(keys.length > 30);
  assert.ok(keys.includes('services[].uoa.idleRefresh'));
});

for (const key of keys) {
  const name = key.replaceAll('[]', '').split('.').at(-1) ?? '';
  // As a property (config.io.wan) or taken apart ({ lips, lports }).
  const isRead = new RegExp(`\\.${name}\\b|[{,]\\s*${name}\\s*[,:}]`);
  test(`${key} is read`, () => assert.ok(isRead.test(source), 'nothing outside src/config reads it'));
}
