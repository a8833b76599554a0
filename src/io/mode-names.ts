// The modes of packet I/O by their names in the config, and what its docs say of each. In a file without
// imports, because a config can be read where what a mode needs is missing. modes.ts has a mode for each.

/** In the order in which `auto` tries them. */
export const MODE_HELP = {
  ring: 'uses AF_PACKET memory-mapped rings',
  pcap: 'uses libpcap and raw sockets by the npm packages cap and raw-socket, which are optional, and is slower',
} as const;

export type ConfigMode = keyof typeof MODE_HELP;
export const MODE_NAMES = Object.keys(MODE_HELP) as ConfigMode[];
