// The config file of a running proxy: read at the start and for each reload, and watched.
import { parseAside } from './aside.ts';
import { parseConfig } from './load.ts';
import type { Config } from './schema.ts';
import { contentOf, readText } from './text.ts';
import { watchConfig } from './watch.ts';

export class ConfigFile {
  readonly path: string;
  /** What it said last, right or wrong; undefined: it could not be opened. */
  #content: string | undefined;

  constructor(path: string) {
    this.path = path;
  }

  /** Reads and checks it. Throws ConfigError. */
  load(): Config {
    return parseConfig(this.#read(), this.path);
  }

  /** As load, while this process goes on. Rejects with a ConfigError. */
  async reload(): Promise<Config> {
    return parseAside(this.#read(), this.path);
  }

  /** Calls `onChange` when the file has changed since it was loaded last, also before this call. Returns what ends it. */
  watch(onChange: () => void): () => void {
    const onWritten = () => {
      if (contentOf(this.path) !== this.#content) onChange();
    };
    return watchConfig(this.path, onWritten, this.#content);
  }

  #read(): string {
    try {
      const text = readText(this.path);
      this.#content = text;
      return text;
    } catch (error) {
      this.#content = contentOf(this.path);
      throw error;
    }
  }
}
