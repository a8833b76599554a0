// What is wrong with a config, in the words an operator needs: where (path and line), which value, what is
// allowed.

/** Path from the top of the config: keys and list indexes. */
export type KeyPath = readonly (string | number)[];

export interface Problem {
  /** As an operator writes it: `services[0].lports`; empty for the file as a whole. */
  path: string;
  /** Names the value and what is allowed; does not repeat the path. */
  message: string;
  /** 1-based position in the file, when the problem has one. */
  line?: number;
  column?: number;
}

/** A problem whose place in the file is still to be found. */
export interface Finding {
  path: KeyPath;
  message: string;
  /** The keys whose values are to blame together; without it the one at `path`. */
  blamed?: readonly KeyPath[];
}

/** A config that cannot be used; `message` holds every problem, one a line. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly fileName: string;
  readonly problems: readonly Problem[];

  constructor(fileName: string, problems: readonly Problem[], options?: ErrorOptions) {
    const count = problems.length === 1 ? '1 problem' : `${problems.length} problems`;
    super(
      [`${fileName}: ${count}`, ...problems.map((problem) => `  ${formatProblem(problem)}`)].join('\n'),
      options,
    );
    this.fileName = fileName;
    this.problems = problems;
  }
}

/** One line: `line 12: services[0].lports: "0-9" is not allowed, expected ...`. */
export function formatProblem({ line, path, message }: Problem): string {
  return `${line === undefined ? '' : `line ${line}: `}${path === '' ? '' : `${path}: `}${message}`;
}

export function formatPath(path: KeyPath): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (/^[A-Za-z_][\w-]*$/.test(step)) text += text === '' ? step : `.${step}`;
    else text += `[${JSON.stringify(step)}]`;
  }
  return text;
}

const SHOWN_MAX = 60;

/** A config value as it may stand in a message: JSON, cut when long. */
export function formatValue(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : stringify(value);
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX - 3)}...` : text;
}

function stringify(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return 'a value that contains itself'; // a YAML alias inside its own anchor
  }
}

/** The known key that was probably meant, or undefined when none is near. */
export function nearestKey(unknown: string, known: readonly string[]): string | undefined {
  const plain = (key: string) => key.toLowerCase().replace(/[^a-z0-9]/g, '');
  let best: string | undefined;
  let bestDistance = Math.min(3, Math.ceil(unknown.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(plain(unknown), plain(candidate));
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein distance: inserted, removed or replaced characters. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(row[j] + 1, next[j - 1] + 1, replaced));
    }
    row = next;
  }
  return row[b.length];
}
