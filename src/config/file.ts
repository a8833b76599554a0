// The config file of a running proxy: read at the start and for each reload, and watched.
import { readFileSync } from 'node:fs';
import { loadConfig } from './load.ts';
import type { Config } from './schema.ts';
import { watchConfig } from './watch.ts';

export class ConfigFile {
  readonly #path: string;
  /** What was read last, right or wrong; undefined: it could not be read. */
  #text: string | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Reads and checks it. Throws ConfigError. */
  load(): Config {
    this.#text = this.#read();
    return loadConfig(this.#path);
  }

  /** Calls `onChange` when the file has changed since it was loaded last, also before this call. Returns what ends it. */
  watch(onChange: () => void): () => void {
    const onWritten = () => {
      if (this.#read() !== this.#text) onChange();
    };
    return watchConfig(this.#path, onWritten, this.#text);
  }

  #read(): string | undefined {
    try {
      return readFileSync(this.#path, 'utf8');
    } catch {
      return undefined;
    }
  }
}
