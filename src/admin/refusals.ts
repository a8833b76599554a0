// Tells the operator once per real server that it cannot read its UOA. The datapath counts what such a server says by ICMP;
// this looks at the counts, because the datapath itself never logs.

/** A real server as the log names it. */
export interface WatchedServer {
  readonly service: string;
  /** Its address and port. */
  readonly rs: string;
  readonly dialect: string;
  /** What it gets instead: `plain` or another dialect. */
  readonly instead: string;
}

type Log = (fields: Record<string, unknown>, message: string) => void;

const POLL_MS = 1000;

/**
 * Calls `log` once for each real server whose cell of what `read` returns is above 0; `servers` has their order. Holds
 * the process open for nothing. Returns what ends it.
 */
export function watchRefusals(
  read: () => Float64Array,
  servers: readonly WatchedServer[],
  log: Log,
): () => void {
  let silent = [...servers.entries()];
  const timer = setInterval(() => {
    const refusals = read();
    silent = silent.filter(([cell, server]) => {
      if (!(refusals[cell]! > 0)) return true;
      log({ ...server }, describe(server));
      return false;
    });
    if (silent.length === 0) clearInterval(timer);
  }, POLL_MS);
  timer.unref();
  return () => clearInterval(timer);
}

function describe({ rs, dialect, instead }: WatchedServer): string {
  const now =
    instead === 'plain'
      ? 'plain datagrams without the client address'
      : `${instead}, and plain datagrams if it cannot read that either`;
  return `real server ${rs} says by ICMP that it cannot read ${dialect}: for a minute at a time it gets ${now}; check ${whatToCheck(dialect)}`;
}

function whatToCheck(dialect: string): string {
  // A kernel without a module for them passes the options on; for protocol 248 it answers that there is none.
  return dialect === 'opp'
    ? 'that its kernel module for opp is loaded, and that no firewall before it refuses protocol 248'
    : `that it and the firewalls before it accept ${dialect === 'ipo' ? 'IP options' : 'IP options and destination options'}, and that its kernel module is one for ${dialect}`;
}
