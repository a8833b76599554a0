// The process that checks config texts, one after the other, see aside.ts. Its parent decides when it ends,
// not a signal.
import { keepDebuggerShut } from '../sys/debugger.ts';
import { ignoreOperatorsSignals, ignoreStraySignals } from '../sys/signals.ts';
import type { ReadConfig } from './load.ts';
import type { Problem } from './problem.ts';

export interface Asked {
  text: string;
  fileName: string;
}

/** What comes of it. */
export type Parsed = ReadConfig | { problems: readonly Problem[] };

keepDebuggerShut();
ignoreStraySignals();
ignoreOperatorsSignals();

process.on('message', (asked: Asked) => {
  void parsed(asked).then((answer) => process.send!(answer));
});
process.once('disconnect', () => process.exit());

async function parsed({ text, fileName }: Asked): Promise<Parsed> {
  const { readConfig } = await import('./load.ts');
  const { ConfigError } = await import('./problem.ts');
  try {
    return readConfig(text, fileName);
  } catch (error) {
    if (error instanceof ConfigError) return { problems: error.problems };
    throw error;
  }
}
