// Puts test files together with all that they import of this package, in one go, as JavaScript. A file then
// loads a few chunks instead of a hundred files by the hook of typescript.mjs: a third of what all unit tests
// take. Packages, and programs that tests start, stay where they are: import.meta.url is that of the source.
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire, SourceMap } from 'node:module';
import { join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** typescript.mjs knows by it what needs no hook. */
const ENDING = '.bundle.mjs';
const URL_NAME = 'urlOfThisSource';

interface Esbuild {
  build(options: object): Promise<unknown>;
}

export interface Bundle {
  /** What to run in place of a test file. */
  entryOf(path: string): string;
  /** The same text, with places in bundled files as those in their sources. */
  withSources(text: string): string;
  remove(): void;
}

/**
 * Of test files of the package in `root`, by their paths in it. Rejects when one cannot be read as
 * TypeScript.
 */
export async function bundle(root: string, paths: readonly string[]): Promise<Bundle> {
  mkdirSync(join(root, '.cache'), { recursive: true });
  const folder = mkdtempSync(join(resolve(root), '.cache', 'bundle-'));
  const remove = () => rmSync(folder, { recursive: true });
  try {
    await esbuild().build({
      absWorkingDir: resolve(root),
      entryPoints: paths,
      outdir: folder,
      outbase: '.',
      outExtension: { '.js': ENDING },
      bundle: true,
      splitting: true, // what several import is loaded once, also where they import each other
      packages: 'external',
      platform: 'node',
      format: 'esm',
      target: 'es2023',
      sourcemap: 'linked',
      sourcesContent: false,
      logLevel: 'error',
      define: { 'import.meta.url': URL_NAME },
      plugins: [{ name: 'source-urls', setup: keepUrls }],
    });
  } catch (error) {
    remove();
    throw error;
  }
  return {
    entryOf: (path) => join(folder, path.replace(/\.ts$/, ENDING)),
    withSources: (text) => withSources(text, folder),
    remove,
  };
}

/** The one that tsx brings. */
function esbuild(): Esbuild {
  const ours = createRequire(import.meta.url);
  return createRequire(ours.resolve('tsx'))('esbuild') as Esbuild;
}

function keepUrls(build: {
  onLoad(of: { filter: RegExp }, load: (file: { path: string }) => object | undefined): void;
}): void {
  build.onLoad({ filter: /\.ts$/ }, ({ path }) => {
    const text = readFileSync(path, 'utf8');
    if (!text.includes('import.meta.url')) return undefined;
    // On the first line, which is a comment, so that all others keep their numbers.
    return { contents: `const ${URL_NAME} = '${pathToFileURL(path)}'; ${text}`, loader: 'ts' };
  });
}

function withSources(text: string, folder: string): string {
  const maps = new Map<string, SourceMap>();
  return text.replace(/(?:file:\/\/)?(\/[^\s()]+\.mjs):(\d+):(\d+)/g, (place, file: string, line, column) => {
    if (!file.startsWith(folder)) return place;
    const map = maps.get(file) ?? new SourceMap(JSON.parse(readFileSync(`${file}.map`, 'utf8')));
    maps.set(file, map);
    const found = map.findEntry(Number(line) - 1, Number(column) - 1);
    if (!('originalSource' in found)) return place;
    const source = fileURLToPath(new URL(found.originalSource, pathToFileURL(file)));
    return `${relative('.', source)}:${found.originalLine + 1}:${found.originalColumn + 1}`;
  });
}
