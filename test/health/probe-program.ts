// A program for tests: checks from inside its namespace. Answers each line of [settings, target] pairs, which
// it checks at the same time, with { results }: the words of each, `success`, or why a check could not be
// made.
import { createInterface } from 'node:readline';
import { check } from './sample.ts';

export type Check = [settings: object, target: { ip: string; port?: number }];

const inWords = ([settings, target]: Check): Promise<string> =>
  check(settings, target).then(
    (result) => (result.ok ? 'success' : result.reason),
    (error: Error) => `${error.name}: ${error.message}`,
  );

console.log(JSON.stringify({ ready: true }));
for await (const line of createInterface({ input: process.stdin })) {
  const results = await Promise.all((JSON.parse(line) as Check[]).map(inWords));
  console.log(JSON.stringify({ results }));
}
