// How tests start programs of their own that are TypeScript.

/**
 * Options of Node for a .ts entry, and for whatever it imports: in a third of the time that tsx takes to
 * start.
 */
export const TYPESCRIPT = ['--import', new URL('./typescript.mjs', import.meta.url).href] as const;
