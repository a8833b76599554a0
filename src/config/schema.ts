// THE description of the config: every key with its type, default, allowed range and help. Types, checks,
// error messages, config/full.yaml and docs/config.md are derived from it (`npm run docs` writes the two
// files). What concerns several keys at once is in rules.ts.
import type * as z from 'zod';
import { MODE_HELP, MODE_NAMES } from '../io/mode-names.ts';
import {
  aboutDialect,
  CARRIAGES,
  DEFAULT_DIALECT,
  FALLBACK_DIALECTS,
  PROXY_V2_MODES,
  UOA_DIALECTS,
} from '../uoa/dialect.ts';
import { formatEndpoint } from '../wire/address.ts';
import { addressPerFamily, endpoint, listenAddress, prefix, unicastAddress } from './address.ts';
import { defaulted, group, list, optional, optionalGroup, optionalList, required } from './key.ts';
import { log } from './log.ts';
import { expectation, payload } from './payload.ts';
import { duration, flag, integer, integerRange, oneOf, portRange, size, text, wordOr } from './reader.ts';

export const MAX_SERVICES = 1000;
export const MAX_REAL_SERVERS = 4096;
export const MAX_LEGS = 65_535;
/** Each has two members of a fanout group, which has 256 at most. */
export const MAX_WORKERS = 64;

const port = integer(1, 65535);
const interfaceName = text(
  'interface name (1 to 15 characters, no space, slash or colon)',
  /^(?!\.{1,2}$)[^\s/:]{1,15}$/,
);

const filePath = text('absolute path of a file', /^\/[^\0]*[^\0/]$/);

const dialect = optional(
  "The dialect that this real server understands. Without it: the service's uoa.dialect.",
  oneOf(...UOA_DIALECTS, 'none'),
  'opp',
);

const realServer = group({
  ip: required('Address of the real server (RIP).', unicastAddress(), '10.2.0.2'),
  port: required('UDP port of the real server (rport).', port, 6000),
  weight: defaulted(
    'Share of new sessions relative to the other real servers; 0 takes none.',
    integer(0, 65535),
    100,
  ),
  dialect,
});

const MAX_PREFIXES = 100_000;
const count = (max: number) => integer(0, max);

const health = optionalGroup('Whether a real server works: asked in turn, and seen by its traffic.', {
  type: defaulted(
    'How it is asked. none: not at all, it counts as up. udp: a datagram; with `expect` the reply decides, without it only an ICMP unreachable is a failure. tcp: a connection. http: GET; redirects are not followed. icmp: an echo request. exec: a program, whose exit code 0 is success.',
    oneOf('none', 'udp', 'tcp', 'http', 'icmp', 'exec'),
    'none',
  ),
  interval: defaulted('Time between two checks of a real server.', duration('100ms', '1h'), '2s'),
  timeout: defaulted(
    'A check without result for this long has failed; at most ten intervals.',
    duration('10ms', '60s'),
    '1s',
  ),
  rise: defaulted('Successes in a row after which a real server that was down is up.', integer(1, 100), 2),
  fall: defaulted('Failures in a row after which a real server that was up is down.', integer(1, 100), 3),
  jitter: defaulted(
    'Each interval is longer or shorter by up to so many percent, so that checks do not come at once.',
    integer(0, 50),
    10,
  ),
  port: optional("udp, tcp and http: the port that is asked. Without it: the real server's.", port, 8080),
  send: optional('udp: what is sent. Without it: an empty datagram.', payload(), 'ping'),
  expect: optional(
    'udp: the whole reply, or a regular expression that matches in it.',
    expectation(),
    '/^pong/',
  ),
  path: defaulted('http: what is asked for.', text('path that starts with /', /^\/[\x21-\x7e]*$/), '/'),
  status: defaulted('http: status codes that mean success.', integerRange(100, 599), '200-399'),
  command: optionalList(
    'exec: program and arguments, without a shell. It finds UOA_PROXY_SERVICE, UOA_PROXY_RS_IP and UOA_PROXY_RS_PORT in its environment.',
    required('The program, then one argument each.', text('text', /^[^\0]+$/), '/usr/local/bin/check'),
    64,
  ),
  unreachable: defaulted(
    'A real server is down after it sent so many ICMP unreachable errors within `window`; 0 = never.',
    count(1_000_000),
    0,
  ),
  silent: defaulted(
    'A real server is down after so many of its sessions expired without an answer within `window`, while no session got its first answer; 0 = never. Where a check asks it too, the last one that takes new sessions stays. Datagrams that it ignores by intent can bring this about while no new client is served.',
    count(1_000_000),
    0,
  ),
  window: defaulted(
    'Time over which `unreachable` and `silent` count. With type none it is also how long the real server then is down.',
    duration('1s', '1h'),
    '10s',
  ),
});

const limits = optionalGroup(
  'What a service takes at most. Beyond it a packet that would open a session is dropped; open sessions go on. 0 = no limit.',
  {
    sessions: defaulted('Sessions of the service at a time.', count(16_000_000), 0),
    sessionsPerClient: defaulted('Sessions of one client at a time.', count(1_000_000), 0),
    newSessions: defaulted(
      'New sessions per second; after a pause those of a whole second may come at once.',
      count(10_000_000),
      0,
    ),
    newSessionsPerClient: defaulted('New sessions per second of one client.', count(1_000_000), 0),
    prefixV4: defaulted(
      'Bits of an IPv4 address that tell one client from another, for the limits of a client.',
      integer(8, 32),
      32,
    ),
    prefixV6: defaulted(
      'Bits of an IPv6 address that tell one client from another, for the limits of a client.',
      integer(16, 128),
      64,
    ),
  },
);

const uoa = optionalGroup('How the real server learns the client address.', {
  dialect: defaulted(
    `What the real servers understand. ${UOA_DIALECTS.map((name) => `${name}: ${aboutDialect(name)}. `).join('')}none: no UOA.`,
    oneOf(...UOA_DIALECTS, 'none'),
    DEFAULT_DIALECT,
  ),
  unifiedType: defaulted(
    'Option type of unified. With 31 the option of an IPv6 client overruns kernel memory on a real server that has the DPVS or Huawei module instead; with 30 these skip it, and the module that understands unified reads both.',
    oneOf(31, 30),
    31,
  ),
  onUnsupported: defaulted(
    'What a real server gets, for a minute at a time, that says by ICMP that it cannot read its dialect. plain: no UOA. A dialect: that one, and plain if it cannot read that either.',
    oneOf('plain', ...FALLBACK_DIALECTS),
    'plain',
  ),
  proxyV2: defaulted(
    'Which datagrams of a session bring the header of dialect proxy-v2. every: all. first: those that would bring a UOA, up to `maxTrials` per round, since nothing acknowledges it; 1 where a program takes it in the first datagram only.',
    oneOf(...PROXY_V2_MODES),
    'every',
  ),
  carriage: defaulted(
    'Where the UOA goes. inserted: into the client datagram, where it has room. carrier: only into empty packets of its own, which go ahead. auto: carriers until the real server has acknowledged one or answered a datagram with it, then inserted; where a path drops packets with IP options no datagram is lost by it. proxy-v2 has neither.',
    oneOf(...CARRIAGES),
    'auto',
  ),
  maxTrials: defaulted('UOAs sent per round while no echo ACK came; 0 turns UOA off.', integer(0, 255), 3),
  refresh: defaulted(
    'Start a new round this long after the last UOA of a finished one, so that who missed it learns the address again. auto: 60s where the round ended without an echo ACK, else never, because a real server that comes back is told in any case. A time holds for both; 0 = off.',
    wordOr('auto', duration('0s', '24h')),
    'auto',
  ),
  idleRefresh: defaulted(
    'Start a new round with the first packet after a pause of this length; receivers forget after 360 s; 0 = off.',
    duration('0s', '24h'),
    '120s',
  ),
});

/** What the groups are when nothing is written. */
export const DEFAULT_HEALTH = health.parse(undefined);
export const DEFAULT_LIMITS = limits.parse(undefined);
export const DEFAULT_UOA = uoa.parse(undefined);

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
    'How a real server is chosen for a new session. rr: in turn. wrr: in turn, by weight. lc: fewest sessions. wlc: fewest sessions for its weight. sh: by the client address. mh: by the client address with Maglev hashing, which moves few clients when servers change, and chooses the same in every proxy of this config. random: by weight and chance.',
    oneOf('rr', 'wrr', 'lc', 'wlc', 'sh', 'mh', 'random'),
    'rr',
  ),
  persistence: defaulted(
    'For this long new sessions of a client address go to the real server of its last one, if that takes new ones; 0 = off.',
    duration('0s', '24h'),
    '0s',
  ),
  health,
  onDown: defaulted(
    'What becomes of the sessions of a real server that is down. keep: they stay with it. move: they go to another one, which is told the client address again. reset: they end, and the client is told by ICMP port unreachable.',
    oneOf('keep', 'move', 'reset'),
    'keep',
  ),
  fallback: optional(
    'Where new sessions go while no real server takes any, as IP:port; of a family that the lips have. It is sent the uoa.dialect of the service.',
    endpoint(),
    '10.2.0.9:6000',
  ),
  drainTimeout: defaulted(
    'A real server that is taken out of the config keeps its sessions for this long.',
    duration('0s', '24h'),
    '5m',
  ),
  limits,
  allow: optionalList(
    'Clients that are served; empty: all but those of deny. The longest prefix of allow and deny that matches decides.',
    required('Address or prefix.', prefix(), '198.51.100.0/24'),
    MAX_PREFIXES,
  ),
  deny: optionalList(
    'Clients that are not served: a packet that would open a session is dropped.',
    required('Address or prefix.', prefix(), '203.0.113.0/24'),
    MAX_PREFIXES,
  ),
  timeouts: optionalGroup('A session ends when it saw no packet for this long.', {
    oneway: defaulted('While the real server has not answered.', duration('1s', '24h'), '300s'),
    normal: defaulted('Once the real server has answered.', duration('1s', '24h'), '300s'),
  }),
  uoa,
  mtu: defaulted(
    'Largest IP packet towards the real servers; auto takes the MTU of the route or interface, a number can only lower it. At least 1280 where a real server has an IPv6 address.',
    wordOr('auto', integer(576, 65535)),
    'auto',
  ),
  realServers: list('The servers behind this service.', realServer, MAX_REAL_SERVERS),
}).transform((given) => ({ ...given, name: given.name ?? formatEndpoint(given.vip[0], given.vport) }));

export const CONFIG_SCHEMA = group({
  io: optionalGroup('Where packets come from and go to.', {
    mode: defaulted(
      `Packet I/O: ${MODE_NAMES.map((name) => `${name} ${MODE_HELP[name]}`).join('; ')}; auto is the first of these that works here.`,
      oneOf('auto', ...MODE_NAMES),
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
      'ring: datapath processes that share the packets, one without CAP_BPF; auto is one less than the processors, at most what the CPU limit of the cgroup allows, at least one.',
      wordOr('auto', integer(1, MAX_WORKERS)),
      'auto',
    ),
    busyPoll: defaulted(
      'ring: look for packets all the time instead of waiting for them: lower latency, a whole processor.',
      flag(),
      false,
    ),
    fastPath: defaulted(
      'ring: forward busy sessions that need no decision by a BPF program in the kernel: xdp (native) or tc; auto: xdp where all interfaces are cards whose drivers have it, else tc, and where neither can be, off. Some drivers reset their link when XDP is attached: tc and off never do.',
      oneOf('auto', 'xdp', 'tc', 'off'),
      'auto',
    ),
    bufferSize: defaulted("The kernel's capture buffer per interface.", size('1MiB', '2GiB'), '64MiB'),
  }),
  admin: optionalGroup('HTTP: metrics, health, and what uoa-proxy ctl asks for and changes.', {
    listen: defaulted('Address and port; port 0 takes any free one.', listenAddress(), '127.0.0.1:9464'),
    socket: optional(
      'Unix socket for uoa-proxy ctl, of mode 0600: whoever can connect to it may change everything (reload, drain, servers). Without it: /run/uoa-proxy/NAME.sock, NAME being that of the config file (and of its folder, where that is not /etc/uoa-proxy), or beside the config file where that cannot be written.',
      filePath,
      '/run/uoa-proxy/proxy.sock',
    ),
    tokenFile: optional(
      'File whose first line every request over TCP but /healthz and /readyz must bring as `Authorization: Bearer`; read again when it changes. Without it nothing can be changed over TCP, only read.',
      filePath,
      '/etc/uoa-proxy/token',
    ),
    hosts: optionalList(
      'Names by which the server may be asked over TCP without a token, besides IP addresses and localhost: others could be those of a web page that was made to point here (DNS rebinding).',
      required(
        'Host name, without port.',
        text('host name', /^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?$/),
        'proxy.example.net',
      ),
      64,
    ),
  }),
  log,
  sessions: optionalGroup('The session table, shared by all services.', {
    max: defaulted(
      'Most sessions at a time. Beyond, a new one evicts one that was not answered, and one that is answered the answered one least recently used.',
      integer(1, 16_000_000),
      1_000_000,
    ),
    onewayShare: defaulted(
      'Percent of max that sessions may take whose real server has not answered yet: a flood of new ones evicts only these.',
      integer(1, 100),
      25,
    ),
    lportReserve: defaulted(
      'Percent of the lports towards each real server that are kept for clients that were answered before; in a flood lports rest there before they are used again.',
      integer(0, 90),
      10,
    ),
    stateFile: optional(
      'Sessions are saved here on stop and restored on a start within ten minutes, so that clients keep their LIP:lport over a restart. What ctl set of real servers, and whether it switched the fast path off, is kept here, too. One proxy only may have it.',
      filePath,
      '/var/lib/uoa-proxy/sessions',
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
