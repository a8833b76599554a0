// Sessions as an answer of /sessions lists them.

export interface Listed {
  client: string;
  clientPort: number;
  lip: string;
  lport: number;
  rs: string;
}

/** Throws where it is no such answer. */
export const listedIn = <T extends Listed = Listed>(body: string): T[] =>
  (JSON.parse(body) as { sessions: T[] }).sessions;

/** Whose each is, and its LIP:lport and real server, in an order that does not depend on slots. */
export const mappingsOf = (sessions: readonly Listed[]): string[] =>
  sessions
    .map(({ client, clientPort, lip, lport, rs }) => `${client} ${clientPort} ${lip} ${lport} ${rs}`)
    .sort();
