// `npm run docs`: writes the files that are derived from the schema.
import { writeFileSync } from 'node:fs';
import { renderConfigPage, renderFullYaml } from './describe.ts';

const root = new URL('../../', import.meta.url);
writeFileSync(new URL('config/full.yaml', root), renderFullYaml());
writeFileSync(new URL('docs/config.md', root), renderConfigPage());
