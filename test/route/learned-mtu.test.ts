// A path MTU that anybody can make the kernel believe by a forged ICMP error about a ping that never was:
// what the proxy sends does not go by it, over each packet I/O and in both families.
import assert from 'node:assert/strict';
import test from 'node:test';
import { ask, startEndpoint } from '../host/endpoint.ts';
import { sh, threeInARow } from '../io/namespaces.ts';
import { icmp4 } from '../packets/builder.ts';
import { icmp6 } from '../packets/builder6.ts';
import {
  assertPass,
  BOTH_FAMILIES,
  CIP,
  CIP6,
  RIP,
  RIP6,
  report,
  startRelay,
  VIP,
  VIP6,
  VPORT,
} from '../steer/relay.ts';

const LARGE = 1_400;
const ECHO_REPLY = 0;
const ECHO_REPLY_6 = 129;

/** ICMP behind its IP header: the way from VIP to the real server takes no more than `mtu` bytes. */
const FAMILIES = [
  {
    name: 'IPv4',
    cip: CIP,
    vip: VIP,
    rip: RIP,
    mtu: 600,
    protocol: 1,
    forged() {
      const body = icmp4({
        src: VIP,
        dst: RIP,
        df: true,
        type: ECHO_REPLY,
        code: 0,
        body: new Uint8Array(64),
      });
      return icmp4({ src: CIP, dst: VIP, type: 3, code: 4, rest: this.mtu, body }).subarray(20);
    },
  },
  {
    name: 'IPv6',
    cip: CIP6,
    vip: VIP6,
    rip: RIP6,
    mtu: 1280,
    protocol: 58,
    forged() {
      const body = icmp6({ src: VIP6, dst: RIP6, type: ECHO_REPLY_6, code: 0, body: new Uint8Array(64) });
      return icmp6({ src: CIP6, dst: VIP6, type: 2, code: 0, rest: this.mtu, body }).subarray(40);
    },
  },
];

for (const mode of ['pcap', 'ring'] as const) {
  for (const family of FAMILIES) {
    const { name, cip, vip, rip, mtu, protocol } = family;

    test(`${mode} sends large ${name} packets whatever path MTU the kernel was made to believe`, async (t) => {
      const { client, lb, server } = threeInARow(t);
      const relay = await startRelay(t, lb, {
        ...BOTH_FAMILIES,
        ...(mode === 'pcap' ? { ring: undefined } : {}),
      });
      await startEndpoint(t, server, { ip: rip, port: VPORT, echo: true });
      const endpoint = await startEndpoint(t, client, { ip: cip });
      await assertPass(endpoint, vip, [64, LARGE]);
      const hex = Buffer.from(family.forged()).toString('hex');
      await ask(endpoint, { raw: { protocol, hex, ip: vip } });
      assert.equal(await ask(endpoint, { ping: vip }), true, 'the kernel has taken in what came before');
      assert.match(sh(`ip -n ${lb} route get ${rip}`), new RegExp(`expires \\d+sec mtu ${mtu}`));

      const { sentByIp } = (await report(relay)).counters[2];
      for (let n = 1; n <= 5; n++) {
        // In ring mode a packet goes through the IP layer where the kernel must ask for the neighbor first.
        sh(`ip -n ${lb} neighbor delete ${rip} dev lan0`);
        await assertPass(endpoint, vip, [LARGE, LARGE]);
      }
      const after = (await report(relay)).counters[2];
      assert.ok(after.sentByIp >= sentByIp + 5, 'large packets went through the IP layer');
      assert.match(sh(`ip -n ${lb} route get ${rip}`), new RegExp(`mtu ${mtu}`), 'it still believes it');
      await relay.stop();
    });
  }
}
