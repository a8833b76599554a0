import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { startSample } from '../admin/sample.ts';
import { outcomeOf, uoaProxyBeside } from './ctl-program.ts';
import { type Outcome, PROGRAM, PROGRAM_WORDS, uoaProxy } from './program.ts';

/** What bash proposes for a command line with the cursor at its end. */
async function bash(t: TestContext, line: string): Promise<string[]> {
  const text = `
    uoa-proxy() { ${PROGRAM_WORDS} "$@"; }
    eval "$(uoa-proxy completion bash)"
    COMP_LINE="$1"; COMP_POINT=\${#1}
    _uoa_proxy
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  return linesOf(await outcomeOf(t, 'bash', ['-c', text, 'bash', line]));
}

/**
 * What zsh makes of each command line when Tab is pressed at its end: a terminal of its own, on which keys
 * are typed.
 */
async function zsh(t: TestContext, lines: readonly string[]): Promise<string[]> {
  const text = `
    export TERM=dumb
    zmodload zsh/zpty
    zpty shell zsh -f -i
    zpty -w shell 'autoload -U compinit; compinit -D -u'
    zpty -w shell 'uoa-proxy() { ${PROGRAM.join(' ')} "$@" }'
    zpty -w shell 'eval "$(uoa-proxy completion zsh)"'
    zpty -w shell 'show() { zle -I; print -r -- "<$BUFFER>"; BUFFER= }; zle -N show; bindkey "^X" show'
    for line in "$@"; do
      zpty -n -w shell "$line"$'\t\x18'
      zpty -r shell shown $'*\n<uoa-proxy *>*'
      print -r -- "\${\${shown##*$'\n'<}%%>*}"
    done
    zpty -d shell`;
  return linesOf(await outcomeOf(t, 'zsh', ['-f', '-c', text, 'zsh', ...lines]));
}

/** What it printed; what it complained of fails the test. */
function linesOf({ stdout, stderr }: Outcome): string[] {
  assert.equal(stderr, '');
  return stdout.split('\n').filter((line) => line !== '');
}

describe('completion', () => {
  const rows: [words: string[], found: string[]][] = [
    [
      ['ctl', ''],
      ['drain', 'fast-path', 'probe', 'reload', 'server', 'services', 'sessions', 'stats'],
    ],
    [
      ['ctl', 'se'],
      ['server', 'services', 'sessions'],
    ],
    [
      ['ctl', 'fast-path', ''],
      ['off', 'on'],
    ],
    [
      ['ctl', 'server', ''],
      ['announce', 'drain', 'enable', 'weight'],
    ],
    [
      ['ctl', 'sessions', '--state', ''],
      ['normal', 'oneway'],
    ],
    [
      ['completion', ''],
      ['bash', 'zsh'],
    ],
  ];
  for (const [words, found] of rows) {
    it(`of "${words.join(' ')}" proposes ${found.join(', ')}`, () => {
      const { code, stdout } = uoaProxy('--complete', ...words);
      assert.equal(code, 0);
      assert.deepEqual(
        stdout.split('\n').filter((word) => word !== '' && !word.startsWith('-')),
        found,
      );
    });
  }

  for (const command of ['top', 'check', 'sniff', 'ctl'])
    it(`of "${command} --j" proposes --json`, () => {
      assert.deepEqual(uoaProxy('--complete', command, '--j'), { code: 0, stdout: '--json\n', stderr: '' });
    });

  it('proposes the services and real servers of the proxy that runs', async (t) => {
    const admin = ['ctl', '--admin', (await startSample(t)).url('')];
    const found = async (...words: string[]) =>
      (await uoaProxyBeside(t, '--complete', ...admin, ...words)).stdout
        .split('\n')
        .filter((word) => word !== '');
    assert.deepEqual(await found('server', 'drain', ''), ['10.1.0.100:6001', 'game']);
    assert.deepEqual(await found('server', 'drain', 'game', ''), ['10.2.0.11:6000', '10.2.0.9:6000']);
    assert.deepEqual(await found('probe', ''), ['10.1.0.100:6001', 'game']);
    assert.deepEqual(await found('probe', '--send', 'x', 'game', ''), ['10.2.0.11:6000', '10.2.0.9:6000']);
    assert.deepEqual(await found('sessions', '--rs', '[fd'), ['[fd00:2::12]:6000']);
  });

  it('proposes nothing, and says nothing, when no proxy runs', () => {
    assert.deepEqual(uoaProxy('--complete', 'ctl', '--admin', '127.0.0.1:1', 'server', 'drain', ''), {
      code: 0,
      stdout: '',
      stderr: '',
    });
  });

  it('works in bash, which ends words at colons', async (t) => {
    const ctl = `uoa-proxy ctl --admin ${(await startSample(t)).url('')} server`;
    assert.deepEqual(await bash(t, `${ctl} d`), ['drain']);
    assert.deepEqual(await bash(t, `${ctl} drain 10.1.0.100:6`), ['6001']);
    assert.deepEqual(await bash(t, `${ctl} drain 10.1.0.100:6001 [fd00:`), ['2::12]:6000']);
  });

  it('works in zsh', { timeout: 120_000 }, async (t) => {
    const ctl = `uoa-proxy ctl --admin ${(await startSample(t)).url('')} server`;
    const typed = ['uoa-proxy sni', `${ctl} d`, `${ctl} drain 10.1.0.100:6`, `${ctl} drain game 10.2.0.9`];
    assert.deepEqual(await zsh(t, typed), [
      'uoa-proxy sniff ',
      `${ctl} drain `,
      `${ctl} drain 10.1.0.100:6001 `,
      `${ctl} drain game 10.2.0.9:6000 `,
    ]);
  });
});
