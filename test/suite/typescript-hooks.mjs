// The module hook behind typescript.mjs. What esbuild makes of a file is kept in .cache, by its content.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const CACHE = new URL('../../.cache/', import.meta.url);

export async function load(url, context, next) {
  if (!/^file:.*\.ts$/.test(url)) return await next(url, context);
  const text = readFileSync(fileURLToPath(url), 'utf8');
  const kept = new URL(`${createHash('sha256').update(`${url}\n${text}`).digest('hex')}.js`, CACHE);
  const source = read(kept) ?? (await transform(url, text, kept));
  return { format: 'module', source, shortCircuit: true };
}

function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

async function transform(url, text, kept) {
  // The esbuild that tsx brings.
  const ours = createRequire(import.meta.url);
  const { transform } = createRequire(ours.resolve('tsx'))('esbuild');
  const { code } = await transform(text, {
    loader: 'ts',
    format: 'esm',
    target: 'es2023',
    sourcemap: 'inline',
    sourcesContent: false,
    sourcefile: fileURLToPath(url),
  });
  try {
    mkdirSync(CACHE, { recursive: true });
    const unfinished = new URL(`${kept.href}.${process.pid}`);
    writeFileSync(unfinished, code);
    renameSync(unfinished, kept);
  } catch {
    // Where it cannot be kept it is made each time.
  }
  return code;
}
