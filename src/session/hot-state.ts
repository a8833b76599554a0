// Whether the kernel forwards a session by itself, and why not: a byte per session beside its record, written
// by the datapath process, read by who shows it. The number is the place in the list.

export const HOT_STATES = [
  'quiet', // not busy; or nobody looked at it yet
  'hot',
  'off', // an operator switched it off, or there is no fast path
  'unanswered',
  'uoa', // the real server is, or is soon to be, told of the client
  'nat64', // client and real server are of different families
  'mtu', // packets on its way must be shorter than the interface lets through
  'own', // its client is a real server, or an address of the proxy or its host
  'down', // its real server is, so that it is to move or to end
  'no_hop', // one of its ends is not reached at layer 2, or its neighbor is not known now
  'wrong_side', // its client is behind an interface that faces real servers only
  'left', // more of its packets were left to the datapath than forwarded
  'no_room', // for its entries
  'proxy_v2', // its datagrams may have to bring a header of PROXY protocol
] as const;

export type HotState = (typeof HOT_STATES)[number];

/** The number of each. */
export const HOT_STATE = Object.fromEntries(HOT_STATES.map((name, index) => [name, index])) as Record<
  HotState,
  number
>;
