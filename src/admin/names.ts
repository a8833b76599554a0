// What a name that does not exist is answered with: those that do.

const NAMES_SHOWN = 20;

/** `no service is called "gmae": there are game, dns`. */
export function unknownName(what: string, name: string, names: readonly string[]): string {
  const more = names.length > NAMES_SHOWN ? ` and ${names.length - NAMES_SHOWN} more` : '';
  return `no ${what} is called ${JSON.stringify(name)}: there are ${names.slice(0, NAMES_SHOWN).join(', ')}${more}`;
}
