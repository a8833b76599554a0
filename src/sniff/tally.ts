// What a capture had, for the last lines of `uoa-proxy sniff`.
import { KINDS, type Sighting } from './sighting.ts';
import { SEEN_DIALECTS } from './uoa-option.ts';

export class Tally {
  /** Frames of any kind. */
  packets = 0;
  /** Packets that the kernel had no room for. */
  lost = 0;
  #sighted = 0;
  #shown = 0;
  readonly #counts = new Map<string, number>();

  count({ kind, dialect }: Sighting, isShown: boolean): void {
    this.#sighted++;
    if (isShown) this.#shown++;
    for (const name of [kind, dialect ?? '?']) this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  /** For a person, in two or three lines. */
  summary(): string {
    const hidden = this.#sighted - this.#shown;
    const lines = [
      `${number(this.packets)} packets seen, ${number(this.#sighted)} with UOA` +
        (hidden === 0 ? '' : `, ${number(this.#shown)} shown`),
    ];
    if (this.#sighted > 0) lines.push(`  ${this.#list(KINDS)}; ${this.#list([...SEEN_DIALECTS, '?'])}`);
    if (this.lost > 0) lines.push(`  ${number(this.lost)} that may have had one were lost: too many at once`);
    return lines.map((line) => `${line}\n`).join('');
  }

  #list(names: readonly string[]): string {
    return names
      .filter((name) => this.#counts.has(name))
      .map((name) => `${name === '?' ? 'unknown' : name} ${number(this.#counts.get(name)!)}`)
      .join(', ');
  }
}

const number = (value: number): string => value.toLocaleString('en-US');
