// Packets for tests of steering: datagrams and ICMP errors of sessions in whatever dress they may have, as
// arbitraries of fast-check, and the configuration that they are about.
import fc from 'fast-check';
import type { Owners, SteeringSpec } from '../../src/steer/steering.ts';
import { formatAddress, parseAddressInto } from '../../src/wire/address.ts';
import { icmp4 } from '../packets/builder.ts';
import {
  destOptions,
  type Extension,
  fragmentHeader,
  hopByHop,
  icmp6,
  routing,
} from '../packets/builder6.ts';
import { concat, familyOf } from '../packets/bytes.ts';
import { addressOption, type EitherFields, type Uoa, udp } from '../packets/uoa-builder.ts';

export const KEY = [
  0x1f123bb5, 0x5f356495, 0x32f1a1bd, 0x7ba1c8e3, 0x4d2c9c6f, 0x19e377b9, 0x6c8e9cf5, 0x2545f491, 0x51d7348d,
  0x3c6ef373,
];
const VIPS = [
  { ip: '10.1.0.100', port: 6000 },
  { ip: 'fd00:1::100', port: 6000 },
  { ip: '10.3.0.1', port: 7000 },
  { ip: 'fd00:3::1', port: 7000 },
];
/** The second ones are VIPs too. */
const LIPS = [
  { ip: '10.2.0.200', first: 5000, last: 5999 },
  { ip: 'fd00:2::200', first: 5000, last: 5999 },
  { ip: '10.3.0.1', first: 20_000, last: 20_999 },
  { ip: 'fd00:3::1', first: 20_000, last: 20_999 },
];
export const specFor = (workers: number): SteeringSpec => ({ workers, key: KEY, vips: VIPS, lips: LIPS });

/** Both ends of a packet between a client or real server and this host. */
export interface Ends {
  remote: string;
  remotePort: number;
  local: string;
  localPort: number;
}

export function ownerOf(owners: Owners, { remote, remotePort, local, localPort }: Ends): number {
  const addresses = new Int32Array(8);
  parseAddressInto(addresses, 0, remote);
  parseAddressInto(addresses, 4, local);
  return owners.ownerOf(addresses, remotePort, localPort);
}

const toUs = ({ remote, remotePort, local, localPort }: Ends): EitherFields => ({
  src: remote,
  sport: remotePort,
  dst: local,
  dport: localPort,
});
const fromUs = ({ remote, remotePort, local, localPort }: Ends): EitherFields => ({
  src: local,
  sport: localPort,
  dst: remote,
  dport: remotePort,
});

const bytes = (maxLength: number) => fc.uint8Array({ maxLength });
const anyPort = fc.integer({ min: 1, max: 65_535 });
const remoteOf = (family: 4 | 6) =>
  fc.array(fc.integer(), { minLength: 4, maxLength: 4 }).map((words) => {
    const head = family === 4 ? [0, 0, 0xffff] : [0x20010db8, ...words.slice(1, 3)];
    return formatAddress(Int32Array.of(...head, words[3]), 0);
  });
export const service = fc.constantFrom(
  ...VIPS.map(({ ip, port }) => ({ local: ip, localPort: fc.constant(port) })),
);
export const leg = fc.constantFrom(
  ...LIPS.map(({ ip, first, last }) => ({ local: ip, localPort: fc.integer({ min: first, max: last }) })),
);
const endsOf = (side: typeof service): fc.Arbitrary<Ends> =>
  side.chain(({ local, localPort }) =>
    fc.record({
      local: fc.constant(local),
      localPort,
      remote: remoteOf(familyOf(local)),
      remotePort: anyPort,
    }),
  );

const extension: fc.Arbitrary<Extension> = fc.oneof(
  bytes(30).map((data) => destOptions(concat(Uint8Array.of(30, data.length), data))),
  fc.constant(hopByHop(Uint8Array.of(5, 2, 0, 0))),
  fc.constant(routing()),
  fc.constant(fragmentHeader()),
);
const above: fc.Arbitrary<{ options: Uint8Array; extensions: Extension[] }> = fc.record({
  options: bytes(40),
  extensions: fc.array(extension, { maxLength: 3 }),
});
const uoa: fc.Arbitrary<Uoa | undefined> = fc.constantFrom(
  undefined,
  { option: addressOption('10.1.0.2', 4000) },
  { option: addressOption('2001:db8::1', 4000) },
);

const datagramTo = (ends: Ends) =>
  fc
    .record({ above, uoa, payload: bytes(20) })
    .map((some) => udp({ ...toUs(ends), ...some.above, payload: some.payload }, some.uoa));

/** An ICMP error of a router about a packet that this host sent; it embeds at least its UDP header. */
const errorTo = (ends: Ends) =>
  fc
    .record({
      outer: above,
      inner: above,
      uoa,
      type4: fc.constantFrom(3, 11, 12),
      type6: fc.integer({ min: 1, max: 4 }),
      isFirstFragment: fc.boolean(),
      payload: bytes(20),
    })
    .map(({ outer, inner, uoa: carried, type4, type6, isFirstFragment, payload }) => {
      const sent = { ...fromUs(ends), ...inner, mf: isFirstFragment, payload };
      const error = { dst: ends.local, code: 0, ...outer };
      if (familyOf(ends.local) === 4) {
        return icmp4({ ...error, src: '192.0.2.1', type: type4, body: udp(sent, carried) });
      }
      const piece = isFirstFragment ? [fragmentHeader({ more: true })] : [];
      const extensions = [...inner.extensions.slice(piece.length), ...piece];
      return icmp6({
        ...error,
        src: '2001:db8::f',
        type: type6,
        body: udp({ ...sent, extensions }, carried),
      });
    });

export interface Case {
  ends: Ends;
  packet: Uint8Array;
}
export const caseOf = (side: typeof service): fc.Arbitrary<Case> =>
  endsOf(side).chain((ends) =>
    fc.record({ ends: fc.constant(ends), packet: fc.oneof(datagramTo(ends), errorTo(ends)) }),
  );
