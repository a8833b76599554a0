// The process that checks one config text and ends, see aside.ts.
import { parseConfig } from './load.ts';
import { ConfigError, type Problem } from './problem.ts';
import type { Config } from './schema.ts';

export interface Asked {
  text: string;
  fileName: string;
}

/** What comes of it. */
export type Parsed = { config: Config } | { problems: readonly Problem[] };

function parsed({ text, fileName }: Asked): Parsed {
  try {
    return { config: parseConfig(text, fileName) };
  } catch (error) {
    if (error instanceof ConfigError) return { problems: error.problems };
    throw error;
  }
}

process.once('message', (asked: Asked) => {
  process.send!(parsed(asked), () => process.disconnect());
});
