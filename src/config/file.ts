// The config file of a running proxy: read at the start and for each reload, and watched.
import { parseAside } from './aside.ts';
import { parseConfig } from './load.ts';
import type { Config } from './schema.ts';
import { contentOf, readText } from './text.ts';
import { watchConfig } from './watch.ts';

/**
 * Checking it takes longer than starting a process for it, which the one that starts uses for other things.
 */
const LARGE_CHARS = 64 << 10;

export class ConfigFile {
  readonly path: string;
  /** What it said last, right or wrong; undefined: it could not be opened. */
  #content: string | undefined;

  constructor(path: string) {
    this.path = path;
  }

  /** Reads and checks it. Rejects with a ConfigError. */
  async load(): Promise<Config> {
    const text = this.#read();
    return text.length < LARGE_CHARS ? parseConfig(text, this.path) : parseAside(text, this.path);
  }

  /** As load; this process goes on meanwhile, however short it is. */
  async reload(): Promise<Config> {
    return parseAside(this.#read(), this.path);
  }

  /**
   * Calls `onChange` when the file has changed since it was loaded last, also before this call. Returns what
   * ends it.
   */
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
