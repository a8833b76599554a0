// A text of which only what changed is read again says what it says when all of it is read.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { readConfig } from '../../src/config/load.ts';
import { type CheckedText, reread } from '../../src/config/reread.ts';
import { type Plain, sampleService } from './sample.ts';

const read = (text: string): CheckedText => ({ ...readConfig(text, 'a.yaml'), text });

const service = (index: number, overrides: Plain = {}): Plain =>
  sampleService({
    name: `s${index}`,
    vport: 6000 + index,
    lips: [`10.2.1.${index}`],
    realServers: [1, 2].map((host) => ({ ip: `10.2.2.${host}`, port: 7000 + index, weight: 5 })),
    ...overrides,
  });
const services = Array.from({ length: 6 }, (_, index) => service(index));

/** The ways in which people and programs write YAML. */
const STYLES: Record<string, (services: Plain[]) => string> = {
  block: (services) => stringify({ io: { wan: 'eth0' }, services, log: { level: 'debug' } }),
  'block without indent': (services) => stringify({ services }, { indentSeq: false }),
  'blocks in comments and empty lines': (services) =>
    `# all\nservices:\n${services.map((one) => `\n  # A service.\n  - ${stringify(one).trim().replaceAll('\n', '\n    ')} # ends\n`).join('')}# over\n`,
  'a map in a line': (services) =>
    `services:\n${services.map((one) => `  - ${JSON.stringify(one).replaceAll('"', "'").replaceAll(':', ': ')}\n`).join('')}`,
  'JSON in a line': (services) => JSON.stringify({ services, log: { level: 'debug' } }),
  'JSON in lines': (services) => JSON.stringify({ log: { level: 'debug' }, services }, null, 2),
};

/** How many of the services are those of before. */
const kept = (before: CheckedText, after: CheckedText): number =>
  after.config.services.filter((one) => before.config.services.includes(one)).length;

/** What `text` says when only what changed is read; that this is what it says is asserted. */
function again(before: CheckedText, text: string): CheckedText {
  const after = reread(before, text);
  assert.ok(after, text);
  assert.deepEqual(after, read(text));
  return after;
}

describe('a text that differs little from one that was right', () => {
  for (const [style, write] of Object.entries(STYLES)) {
    const before = read(write(services));

    it(`is read again where one service changed (${style})`, () => {
      for (let index = 0; index < services.length; index++) {
        const changed = services.with(index, service(index, { scheduler: 'wrr' }));
        const after = again(before, write(changed));
        assert.ok(kept(before, after) >= services.length - 2);
        assert.equal(after.config.services[index].scheduler, 'wrr');
      }
    });

    it(`is read again where several changed, one is new and one is gone (${style})`, () => {
      const changed = [...services.toSpliced(3, 1), service(9)].with(0, service(0, { mtu: 1400 }));
      const after = again(before, write(changed));
      assert.ok(kept(before, after) >= services.length - 3);
      assert.ok(kept(after, again(after, write(services))) >= services.length - 3);
    });
  }

  it('is the text that was right where nothing changed', () => {
    const before = read(STYLES.block(services));
    assert.equal(reread(before, before.text), before);
  });

  const refused: [what: string, before: string, after: string][] = [
    ['something is wrong', 'vport: 6001', 'vport: 600001'],
    ['it is no YAML any more', 'vport: 6001', 'vport: "6001'],
    ['services are at odds', 'vport: 6001', 'vport: 6002'],
    ['a service is at odds with itself', 'vport: 6001', 'vport: 6001\n    health: { type: exec }'],
    ['another key than services changed', 'level: debug', 'level: info'],
    ['there is another key', 'vport: 6001', 'vport: 6001\nsessions: { max: 7 }'],
    ['the list of services ends early', '  - name: s2', 'sessions:\n  - name: s2'],
    ['an alias is used', 'name: s1', 'name: &name s1\n    health: { type: http, path: *name }'],
  ];
  for (const [what, from, to] of refused) {
    it(`is left to be read as a whole where ${what}`, () => {
      const before = read(STYLES.block(services));
      const text = before.text.replace(from, to);
      assert.notEqual(text, before.text);
      assert.equal(reread(before, text), undefined);
    });
  }

  it('is left to be read as a whole where a service takes from another one by an alias', () => {
    const health = 'health: { type: http, path: &path /a }';
    const text = STYLES.block(services)
      .replace('vport: 6001', `vport: 6001\n    ${health}`)
      .replace('vport: 6004', 'vport: 6004\n    health: { type: http, path: *path }');
    const before = read(text);
    assert.equal(reread(before, text.replace('&path /a', '&path /b')), undefined);
    const other = again(read(text.replace('*path', '/b')), text.replace('*path', '/c'));
    assert.equal(other.config.services[4].health.path, '/c');
  });
});

describe('what stands around a service that stayed the same', () => {
  const said: [what: string, before: string | RegExp, after: string][] = [
    ['its map begins further right than its keys', '- name: s1', '-  name: s1'],
    ['its map begins further left than its keys', '  - name: s1', ' - name: s1'],
    ['it begins further left than the others, like its keys', '  - name: s1', '  -name: s1'],
    ['a tab stands in the place of a space', '- name: s1', '-\tname: s1'],
    ['a tab stands before it', '- name: s1', '- \tname: s1'],
    ['a tab begins its line', '  - name: s1', '\t- name: s1'],
    ['it stands in a list of its own', '- name: s1', '- - name: s1'],
    ['it is a key', '- name: s1', '- ? name: s1'],
    ['it is the value of a key', '- name: s1', '- a: name: s1'],
    ['its map is to be a string', '- name: s1', '- !!str\n    name: s1'],
    ['its map is to be what nobody knows', '- name: s1', '- !service\n    name: s1'],
    ['its tag begins at the line before', '  - name: s1', '  - !!str\n  - name: s1'],
    ['its first key gets an anchor', '- name: s1', '- &a name: s1'],
    ['its map gets an anchor', '- name: s1', '- &a\n    name: s1'],
    ['it begins in a line of its own', '- name: s1', '-\n    name: s1'],
    ['it begins in a line of its own, elsewhere', '- name: s1', '-\n     name: s1'],
    ['another document begins', '  - name: s1', '---\n  - name: s1'],
    ['the document ends', '  - name: s1', '...\n  - name: s1'],
    ['its first key is in a comment', '- name: s1', '- # name: s1'],
    ['all before it is a block of text', '  - name: s1', '    note: |\n  - name: s1'],
    ['a block of text before it is indented little', '  - name: s1', '    note: |1\n  - name: s1'],
    ['a quote before it is open', 'weight: 5\n  - name: s1', 'weight: "5\n  - name: s1'],
    ['a quote opens before it and closes behind', '5\n  - name: s1', "'5\n  - name: s1'"],
    ['it follows a mark of byte order', '  - name: s1', '\ufeff  - name: s1'],
    ['a mark of byte order stands in its line', '  - name: s1', '  - \ufeffname: s1'],
    ['its line ends as on Windows', 'name: s1\n', 'name: s1\r\n'],
    ['the line before it ends as on Windows', '\n  - name: s1', '\r\n  - name: s1'],
    ['the line before it ends with a line feed too few', '\n  - name: s1', '\r  - name: s1'],
    ['a space that is none stands before it', '  - name: s1', '  -\u00a0name: s1'],
    ['the key of its list stands twice', '  - name: s1', 'services:\n  - name: s1'],
    ['it is in brackets', '- name: s1', '- [ name: s1'],
    ['all lists are indented more', /^ {2}- /gm, '   - '],
    ['all services are indented more', /^ {2}(- | {2})/gm, '   $1'],
    ['no service is indented', /^ {2}(- | {2})/gm, '$1'],
  ];
  for (const [what, from, to] of said) {
    it(`counts where ${what}`, () => {
      const before = read(STYLES.block(services));
      const text = before.text.replace(from, to);
      assert.notEqual(text, before.text);
      const after = reread(before, text);
      if (after !== undefined) assert.deepEqual(after, tried(text), text);
    });
  }
});

/** Text as it could get among the services by a slip, or an edit that is meant. */
const SLIPS = [
  ...'\n -:#"\'[]{},&*!|>%5\t',
  '\n  - ',
  '\n    ',
  '- ',
  '  ',
  '---\n',
  '...\n',
  '\nlog:\n  level: warn\n',
  '\nservices:\n',
  ': |+\n\n',
  '&a ',
  '*a',
  '!!str\n    ',
  '! ',
  '\n     ',
  '\r\n',
  '\ufeff',
  '<<: ',
  '"services 0 to 1"',
  'weight: 7',
];

interface Edit {
  /** A share of the text, or so many characters before a service's name. */
  at: number | { service: number; back: number };
  length: number;
  text: string;
}

const edit: fc.Arbitrary<Edit> = fc.record({
  at: fc.oneof(
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.record({ service: fc.nat(6), back: fc.integer({ min: -5, max: 5 }) }),
  ),
  length: fc.oneof(fc.constant(0), fc.nat(3), fc.nat(200)),
  text: fc.array(fc.constantFrom(...SLIPS), { maxLength: 2 }).map((parts) => parts.join('')),
});

const edited = (text: string, edits: readonly Edit[]): string =>
  edits.reduce((so, { at, length, text }) => {
    const off =
      typeof at === 'number'
        ? Math.floor(at * so.length)
        : Math.max(0, so.indexOf(`s${at.service}`) - 'name: '.length - at.back);
    return so.slice(0, off) + text + so.slice(off + length);
  }, text);

function tried(text: string): CheckedText | undefined {
  try {
    return read(text);
  } catch {
    return undefined;
  }
}

describe('whatever is done to a text that was right', () => {
  const RUNS = 60;
  for (const [style, write] of Object.entries(STYLES)) {
    it(`it is read again only where it is right, and says the same (${style})`, () => {
      const start = read(write(services));
      fc.assert(
        fc.property(fc.array(fc.array(edit, { minLength: 1, maxLength: 3 }), { maxLength: 4 }), (changes) => {
          let before = start;
          for (const change of changes) {
            const text = edited(before.text, change);
            const after = reread(before, text);
            const whole = tried(text);
            if (after !== undefined) assert.deepEqual(after, whole, text);
            before = whole === undefined ? before : (after ?? whole);
          }
        }),
        { numRuns: RUNS },
      );
    });

    it(`services that come, go, move and change say the same (${style})`, () => {
      const some = fc.uniqueArray(fc.nat(9), { minLength: 1, maxLength: 8 });
      const weights = fc.array(fc.constantFrom({}, { mtu: 1400 }, { onDown: 'move' }), {
        minLength: 10,
        maxLength: 10,
      });
      let times = 0;
      let timesQuick = 0;
      fc.assert(
        fc.property(fc.array(fc.tuple(some, weights), { minLength: 2, maxLength: 4 }), (plans) => {
          let before: CheckedText | undefined;
          for (const [indexes, overrides] of plans) {
            const text = write(indexes.map((index) => service(index, overrides[index])));
            const whole = read(text);
            const after = before && reread(before, text);
            if (after !== undefined) assert.deepEqual(after, whole, text);
            if (before !== undefined) times++;
            if (after !== undefined) timesQuick++;
            before = after ?? whole;
          }
        }),
        { numRuns: RUNS / 3 },
      );
      assert.ok(timesQuick > 0.5 * times, `${timesQuick} of ${times}`);
    });
  }
});
