// The config file of a running proxy: read at the start and for each reload, and watched.
import { readAside } from './aside.ts';
import { withUnchanged } from './changes.ts';
import { readConfig } from './load.ts';
import { type CheckedText, reread } from './reread.ts';
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
  /** What was right last. */
  #checked: CheckedText | undefined;

  constructor(path: string) {
    this.path = path;
  }

  /** Reads and checks it. Rejects with a ConfigError. */
  async load(): Promise<Config> {
    const text = this.#read();
    return this.#check(text, text.length < LARGE_CHARS ? readConfig : readAside);
  }

  /**
   * As load; this process goes on meanwhile, however short it is, but for where a little of it changed since
   * it was right last. Services that say the same as then are the same objects.
   */
  async reload(): Promise<Config> {
    const text = this.#read();
    const checked = this.#checked && reread(this.#checked, text);
    if (checked === undefined) return this.#check(text, readAside);
    this.#checked = checked;
    return checked.config;
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

  async #check(text: string, read: typeof readConfig | typeof readAside): Promise<Config> {
    const checked = await read(text, this.path);
    const config =
      this.#checked === undefined ? checked.config : withUnchanged(this.#checked.config, checked.config);
    this.#checked = { ...checked, config, text };
    return config;
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
