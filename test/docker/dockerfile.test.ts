// The rules that docker/Dockerfile keeps; image.test.ts carries it out.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { execForm, filesBelow, type Instruction, isInContext, ROOT, readDockerfile } from './dockerfile.ts';

const { before, stages } = readDockerfile();
const all = stages.flatMap(({ instructions }) => instructions);
const final = stages.at(-1)!.instructions;

function only(instructions: readonly Instruction[], keyword: string): Instruction[] {
  return instructions.filter((instruction) => instruction.keyword === keyword);
}

describe('docker/Dockerfile', () => {
  test('builds in one stage and runs in another, both from one pinned base', () => {
    assert.deepEqual(
      stages.map(({ name }) => name),
      ['build', ''],
    );
    assert.ok(only(all, 'FROM').every(({ text }) => /^\$\{NODE_IMAGE\}( AS build)?$/.test(text)));
    const base = /^NODE_IMAGE=node:(\d+)-[a-z]+-slim$/.exec(only(before, 'ARG')[0].text);
    const { engines } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      engines: { node: string };
    };
    assert.equal(
      `>=${base?.[1]}`,
      engines.node.split('.')[0],
      'the base has the Node that package.json asks for',
    );
  });

  test('every file that it copies exists and is not kept out by .dockerignore', () => {
    const wrong = only(all, 'COPY')
      .filter(({ flags }) => flags.from === undefined)
      .flatMap(({ text }) => text.split(' ').slice(0, -1))
      .filter((path) => !existsSync(join(ROOT, path)) || !isInContext(path));
    assert.deepEqual(wrong, []);
  });

  test('.dockerignore keeps out what does not belong into an image', () => {
    for (const path of ['.git', 'node_modules', 'dist', 'test', 'bench', 'docker/compose']) {
      assert.equal(isInContext(path), false, path);
    }
  });

  test('every folder that the build copies holds source only', () => {
    const wrong = ['src', 'config', 'docker/image']
      .flatMap(filesBelow)
      .filter((path) => /\.(log|pcap|node|js)$/.test(path));
    assert.deepEqual(wrong, []);
  });

  test('each apt-get install goes without recommended packages, asks nothing and leaves no lists', () => {
    const installs = only(all, 'RUN').filter(({ text }) => text.includes('apt-get'));
    assert.equal(installs.length, 2);
    for (const { text } of installs) {
      assert.match(text, /^apt-get update && apt-get install --yes --no-install-recommends /);
      assert.match(text, / && rm -rf \/var\/lib\/apt\/lists\/\*$/);
    }
  });

  test('nothing is downloaded but packages, and no command is run through sudo or with ADD', () => {
    for (const { text } of only(all, 'RUN')) assert.doesNotMatch(text, /\b(curl|wget|sudo|git)\b/);
  });

  test('npm packages come from the lock file, and those of the image are for production only', () => {
    const runs = only(all, 'RUN').map(({ text }) => text);
    assert.ok(runs.some((text) => text.startsWith('npm ci ')));
    assert.ok(runs.some((text) => text.includes('npm prune --omit=dev')));
    assert.ok(runs.every((text) => !/npm (install|i) /.test(text)));
  });

  test('the image runs as an ordinary user, given as a number so that Kubernetes can see it', () => {
    assert.deepEqual(
      only(final, 'USER').map(({ text }) => text),
      ['10001:10001'],
    );
    const user = final.findIndex(({ keyword }) => keyword === 'USER');
    assert.ok(
      final.slice(user).every(({ keyword }) => keyword !== 'RUN' && keyword !== 'COPY'),
      'what stands after USER changes no files',
    );
  });

  test('ENTRYPOINT, CMD and HEALTHCHECK have the exec form, so that signals reach the proxy', () => {
    for (const keyword of ['ENTRYPOINT', 'CMD', 'HEALTHCHECK']) {
      const [instruction, ...more] = only(final, keyword);
      assert.deepEqual(more, []);
      assert.ok(execForm(instruction.text), `${keyword} ${instruction.text}`);
    }
    assert.equal(only(final, 'STOPSIGNAL')[0].text, 'SIGTERM');
    const entry = statSync(join(ROOT, 'docker/image/uoa-proxy'));
    assert.ok(entry.mode & 0o100, 'the entry is executable');
    assert.match(readFileSync(join(ROOT, 'docker/image/uoa-proxy'), 'utf8'), /^exec [^\n]*"\$@"$/m);
  });

  test('the labels of the Open Container Initiative name title, version, license and revision', () => {
    const labels = only(final, 'LABEL')[0].text;
    for (const label of ['title', 'description', 'licenses', 'version', 'revision']) {
      assert.match(labels, new RegExp(`org\\.opencontainers\\.image\\.${label}=`));
    }
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    assert.ok(
      only(final, 'ARG').some(({ text }) => text === `VERSION=${version}`),
      `the default of VERSION is package.json's ${version}`,
    );
  });
});
