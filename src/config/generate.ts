// `npm run docs`: writes the files that are derived from the schemas, and the part of one that is.
import { readFileSync, writeFileSync } from 'node:fs';
import { renderConfigPage, renderFullYaml, renderMarkdownTable } from './describe.ts';
import { RECEIVER_SCHEMA } from './receiver-schema.ts';

const root = new URL('../../', import.meta.url);
writeFileSync(new URL('config/full.yaml', root), renderFullYaml());
writeFileSync(new URL('docs/config.md', root), renderConfigPage());

const receiverPage = new URL('docs/receiver.md', root);
const keys = /(?<=<!-- Keys: .*-->\n)[\s\S]*(?=<!-- End of keys)/;
const table = renderMarkdownTable(RECEIVER_SCHEMA);
writeFileSync(
  receiverPage,
  readFileSync(receiverPage, 'utf8').replace(keys, () => `\n${table}\n\n`),
);
