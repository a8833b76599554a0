// THE description of the config: every key with its type, default, allowed range and help. Types, checks, error messages,
// config/full.yaml and docs/config.md are derived from it (`npm run docs` writes the two files). What concerns
// several keys at once is in rules.ts.
import type * as z from 'zod';
import { formatEndpoint } from '../wire/address.ts';
import { addressPerFamily, listenAddress, unicastAddress } from './address.ts';
import { defaulted, group, list, optional, optionalGroup, required } from './key.ts';
import { duration, flag, integer, oneOf, portRange, size, text, wordOr } from './reader.ts';

export const MAX_SERVICES = 1000;
export const MAX_REAL_SERVERS = 4096;
export const MAX_LEGS = 65_535;

const port = integer(1, 65535);
const interfaceName = text(
  'interface name (1 to 15 characters, no space, slash or colon)',
  /^(?!\.{1,2}$)[^\s/:]{1,15}$/,
);

/** How a client address can be written into a packet; what reads which is in docs/wire-formats.md. */
const DIALECTS = ['ipo', 'opp', 'elb', 'unified'] as const;

const realServer = group({
  ip: required('Address of the real server (RIP).', unicastAddress(), '10.2.0.2'),
  port: required('UDP port of the real server (rport).', port, 6000),
  weight: defaulted(
    'Share of new sessions relative to the other real servers; 0 takes none.',
    integer(0, 65535),
    100,
  ),
  dialect: optional(
    "The dialect that this real server understands. Without it: the service's uoa.dialect.",
    oneOf(...DIALECTS, 'none'),
    'opp',
  ),
});

const service = group({
  name: optional(
    'Name in metrics, logs and /sessions; unique. Without it: the first vip with the vport, as 10.1.0.100:6000 or [fd00:1::100]:6000.',
    text('1 to 63 characters of A-Z a-z 0-9 _ . : -', /^[A-Za-z0-9_.:-]{1,63}$/),
    'game',
  ),
  vip: required(
    'Address that clients send to; of either family or one of each, whatever the real servers have.',
    addressPerFamily(),
    '10.1.0.100',
  ),
  vport: required('UDP port that clients send to.', port, 6000),
  lips: list(
    'Local addresses: what real servers see as the source of forwarded datagrams. A real server is sent to from those of its family.',
    required('One local address, used by nothing else on the network.', unicastAddress(), '10.2.0.200'),
    MAX_LEGS,
  ),
  lports: defaulted(
    'Ports used on each local address. They belong to the proxy: no program may bind them there.',
    portRange(),
    '1024-65535',
  ),
  scheduler: defaulted(
    'How a real server is chosen for a new session: rr in turn, wrr in turn by weight.',
    oneOf('rr', 'wrr'),
    'rr',
  ),
  timeouts: optionalGroup('A session ends when it saw no packet for this long.', {
    oneway: defaulted('While the real server has not answered.', duration('1s', '24h'), '300s'),
    normal: defaulted('Once the real server has answered.', duration('1s', '24h'), '300s'),
  }),
  uoa: optionalGroup('How the real server learns the client address.', {
    dialect: defaulted(
      'What the real servers understand. ipo: IPv4 option 31; not over IPv6. opp: protocol 248 header; over IPv6 only in packets of its own, because in large datagrams it crashes the receivers there are. elb: as ipo, over IPv6 a destination option. unified: as elb, but with the VIP too, in another form. none: no UOA.',
      oneOf(...DIALECTS, 'none'),
      'ipo',
    ),
    unifiedType: defaulted(
      'Option type of unified. With 31 the option of an IPv6 client overruns kernel memory on a real server that has the DPVS or Huawei module instead; with 30 these skip it, and the module that understands unified reads both.',
      oneOf(31, 30),
      31,
    ),
    onUnsupported: defaulted(
      'What a real server gets, for a minute at a time, that says by ICMP that it cannot read its dialect. plain: no UOA. A dialect: that one, and plain if it cannot read that either.',
      oneOf('plain', ...DIALECTS),
      'plain',
    ),
    maxTrials: defaulted('UOAs sent per round while no echo ACK came; 0 turns UOA off.', integer(0, 255), 3),
    refresh: defaulted(
      'Start a new round after this long, so that a restarted real server learns the address again; 0 = off.',
      duration('0s', '24h'),
      '0s',
    ),
    idleRefresh: defaulted(
      'Start a new round with the first packet after a pause of this length; receivers forget after 360 s; 0 = off.',
      duration('0s', '24h'),
      '120s',
    ),
  }),
  mtu: defaulted(
    'Largest IP packet towards the real servers; auto takes the MTU of the route or interface, a number can only lower it. At least 1280 where a real server has an IPv6 address.',
    wordOr('auto', integer(576, 65535)),
    'auto',
  ),
  realServers: list('The servers behind this service.', realServer, MAX_REAL_SERVERS),
}).transform((given) => ({ ...given, name: given.name ?? formatEndpoint(given.vip[0]!, given.vport) }));

export const CONFIG_SCHEMA = group({
  io: optionalGroup('Where packets come from and go to.', {
    mode: defaulted(
      'Packet I/O: ring uses AF_PACKET memory-mapped rings; pcap uses libpcap and raw sockets, slower and portable; auto is ring where it works, else pcap.',
      oneOf('auto', 'ring', 'pcap'),
      'auto',
    ),
    wan: optional(
      'Interface towards the clients. Without it: the one that has the VIPs, else by route.',
      interfaceName,
      'wan0',
    ),
    lan: optional(
      'Interface towards the real servers; may equal wan. Without it: by the routes to them.',
      interfaceName,
      'lan0',
    ),
    assignAddresses: defaulted(
      'Add VIPs and LIPs to the interfaces on start and remove them on stop.',
      flag(),
      false,
    ),
    workers: defaulted(
      'ring: datapath processes that share the packets; auto is one less than the processors, at least one.',
      wordOr('auto', integer(1, 64)),
      'auto',
    ),
    busyPoll: defaulted(
      'ring: look for packets all the time instead of waiting for them: lower latency, a whole processor.',
      flag(),
      false,
    ),
    bufferSize: defaulted("The kernel's capture buffer per interface.", size('1MiB', '2GiB'), '64MiB'),
  }),
  admin: optionalGroup('HTTP: /metrics, /healthz, /readyz, /sessions, /services. No authentication.', {
    listen: defaulted('Address and port; port 0 takes any free one.', listenAddress(), '127.0.0.1:9464'),
  }),
  log: optionalGroup('Log on standard output.', {
    level: defaulted(
      'Least severe level that is written.',
      oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal'),
      'info',
    ),
    format: defaulted(
      'auto is pretty on a terminal and json otherwise.',
      oneOf('auto', 'json', 'pretty'),
      'auto',
    ),
  }),
  sessions: optionalGroup('The session table, shared by all services.', {
    max: defaulted(
      'Most sessions at a time; a new one beyond evicts the least recently used.',
      integer(1, 16_000_000),
      1_000_000,
    ),
  }),
  services: list('Each VIP:vport and the real servers behind it.', service, MAX_SERVICES),
});

/** A checked config: durations are milliseconds, sizes bytes, every default filled in. */
export type Config = z.output<typeof CONFIG_SCHEMA>;
export type ServiceConfig = z.output<typeof service>;
export type RealServerConfig = ServiceConfig['realServers'][number];

/** One service of a config that as a whole has problems, so that rules.ts can check what can be checked. */
export function readService(raw: unknown): ServiceConfig | undefined {
  return service.safeParse(raw).data;
}
