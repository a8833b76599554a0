// For `node --import`: runs TypeScript from source in half the processor time of tsx, which counts where each
// test file is a process of its own. Only types are taken out; nothing is looked up in another way than Node
// does.
import { register } from 'node:module';

// What is bundled (bundle.ts) needs it only for programs that it starts with its own options.
if (!process.argv[1]?.endsWith('.bundle.mjs')) {
  register('./typescript-hooks.mjs', import.meta.url);
  process.setSourceMapsEnabled(true);
}
