import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { renderConfigPage, renderFullYaml } from '../../src/config/describe.ts';
import { entries } from '../../src/config/key.ts';
import { loadConfig, parseConfig } from '../../src/config/load.ts';
import { configWarnings } from '../../src/config/rules.ts';
import { CONFIG_SCHEMA } from '../../src/config/schema.ts';

const root = new URL('../../', import.meta.url);
const keys = [...entries(CONFIG_SCHEMA)];

describe('generated files', () => {
  it('config/full.yaml is what the schema says (npm run docs writes it)', () => {
    assert.equal(readFileSync(new URL('config/full.yaml', root), 'utf8'), renderFullYaml());
  });

  it('docs/config.md is what the schema says (npm run docs writes it)', () => {
    assert.equal(readFileSync(new URL('docs/config.md', root), 'utf8'), renderConfigPage());
  });

  it('full.yaml parses to the defaults', () => {
    const full = parseConfig(renderFullYaml(), 'full.yaml');
    const [{ vip, vport, lips, realServers }] = full.services as [(typeof full.services)[number]];
    const least = {
      services: [{ vip, vport, lips, realServers: realServers.map(({ ip, port }) => ({ ip, port })) }],
    };
    assert.deepEqual(full, parseConfig(JSON.stringify(least), 'least.yaml'));
  });

  it('commented-out keys of full.yaml are valid examples', () => {
    const optional = keys.filter(
      ({ kind, required, example }) => kind === 'key' && !required && example !== undefined,
    );
    // Each alone: together they contradict each other (send is for udp, command for exec).
    for (const { path, example } of optional) {
      const name = path.at(-1)!;
      const commented = name === '[]' ? `# - ${example}` : `# ${name}: ${example}`;
      const list = path.at(-2)!;
      const text = renderFullYaml();
      assert.ok(text.includes(commented), commented);
      const uncommented = text.replace(commented, commented.slice(2));
      const config = parseConfig(
        name === '[]' ? uncommented.replace(`${list}: []`, `${list}:`) : uncommented,
        'full.yaml',
      );
      let at: unknown = config;
      for (const step of path) at = (at as Record<string, unknown>)[step === '[]' ? '0' : step];
      assert.notEqual(at, undefined, path.join('.'));
    }
  });
});

describe('every key', () => {
  it('of the parsed config is described', () => {
    const described = new Set(keys.map(({ path }) => path.join('.')));
    const walk = (value: unknown, path: string[]) => {
      if (path.length > 0 && path.at(-1) !== '[]') assert.ok(described.has(path.join('.')), path.join('.'));
      // A parsed leaf that became an object (listen, lports) has no keys of its own.
      if (keys.some((key) => key.kind === 'key' && key.path.join('.') === path.join('.'))) return;
      if (Array.isArray(value)) for (const element of value) walk(element, [...path, '[]']);
      else if (typeof value === 'object' && value !== null) {
        for (const [name, child] of Object.entries(value)) walk(child, [...path, name]);
      }
    };
    walk(loadConfig(fileURLToPath(new URL('config/lab.yaml', root))), []);
  });

  it('has a help text that is a sentence, and an example or a default', () => {
    for (const key of keys) {
      assert.match(key.help, /^\S.{8,}\.$/, key.path.join('.'));
      if (key.kind === 'key')
        assert.ok(key.default !== undefined || key.example !== undefined, key.path.join('.'));
    }
  });

  it('stands in full.yaml', () => {
    for (const { path } of keys) {
      const name = path.at(-1)!;
      if (name !== '[]') assert.match(renderFullYaml(), new RegExp(`^ *(# )?${name}:`, 'm'));
    }
  });
});

describe('the files in config/', () => {
  const folder = new URL('config/', root);
  for (const name of readdirSync(folder)) {
    it(`${name} is valid and gives no warning`, () => {
      assert.deepEqual(configWarnings(loadConfig(fileURLToPath(new URL(name, folder)))), []);
    });
  }

  it('lab.yaml has what the lab relies on', () => {
    const config = loadConfig(fileURLToPath(new URL('lab.yaml', folder)));
    const vip = ['10.1.0.100', 'fd00:1::100'];
    const lips = ['10.2.0.200', '10.2.0.201', 'fd00:2::200', 'fd00:2::201'];
    assert.deepEqual(
      config.services.map((service) => ({ vip: service.vip, vport: service.vport, lips: service.lips })),
      [6000, 6001].map((vport) => ({ vip, vport, lips })),
    );
    assert.deepEqual(
      [config.io.wan, config.io.lan, config.io.assignAddresses, config.admin.listen.port],
      ['wan0', 'lan0', true, 9464],
    );
  });
});
