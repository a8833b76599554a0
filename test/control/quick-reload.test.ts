// What a reload takes over from the plan before is what it would make anew.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { withUnchanged } from '../../src/config/changes.ts';
import type { Config } from '../../src/config/schema.ts';
import { draftServices, needsTheSame, withLeaving } from '../../src/control/planning.ts';
import type { HostFacts } from '../../src/host/host.ts';
import { numberServices } from '../../src/service/numbering.ts';
import type { ServicePlan } from '../../src/service/plan.ts';
import { type Plain, parse, sampleService } from '../config/sample.ts';

const SERVERS = ['10.2.0.11', '10.2.0.12', '10.2.0.13'];

/** A look at the host, for so many services at most. */
const hostWith = (mtus: readonly number[]): HostFacts => ({
  ports: [{ name: 'lan0', side: 3, mtu: 1500, mac: '02:00:00:00:00:01', loopback: false }],
  reach: Array.from({ length: 5 }, () =>
    Object.fromEntries(SERVERS.map((ip, at) => [ip, { mtu: mtus[at], unreachable: '', isOnHost: false }])),
  ),
  own: [],
  broadcasts: [],
  missing: [],
  troubles: [],
  warnings: [],
});

interface Edit {
  name: number;
  vport: number;
  lip: number;
  servers: readonly number[];
  weight: number;
  maxTrials: number;
}

const service = ({ name, vport, lip, servers, weight, maxTrials }: Edit): Plain =>
  sampleService({
    name: `s${name}`,
    vport: 6000 + 10 * name + vport,
    lips: [`10.2.0.${200 + lip}`],
    uoa: { maxTrials },
    realServers: servers.map((at) => ({ ip: SERVERS[at], port: 7000 + name, weight })),
  });

const few = (max: number) => fc.oneof(fc.constant(0), fc.nat(max));
const edits: fc.Arbitrary<Edit[]> = fc.uniqueArray(
  fc.record({
    name: fc.nat(4),
    vport: few(1),
    lip: few(1),
    servers: fc.uniqueArray(fc.nat(SERVERS.length - 1), { minLength: 1 }),
    weight: few(1),
    maxTrials: few(1),
  }),
  { minLength: 1, maxLength: 5, selector: ({ name }) => name },
);
const steps = fc.array(fc.record({ edits, newHost: fc.boolean(), mtu: few(1) }), {
  minLength: 2,
  maxLength: 6,
});

describe('a reload', () => {
  it('plans the same as one that takes over nothing from the plan before', () => {
    fc.assert(
      fc.property(steps, (steps) => {
        let config: Config | undefined;
        let host = hostWith([1500, 1500, 1500]);
        let services: ServicePlan[] = [];
        let anew: ServicePlan[] = [];
        for (const { edits, newHost, mtu } of steps) {
          if (newHost) host = hostWith([1500 - mtu, 1500, 1500]);
          const read = parse({ services: edits.map(service) });
          config = config === undefined ? read : withUnchanged(config, read);
          const all = withLeaving(draftServices(config, host), services, () => true);
          const kept = numberServices(all, services);
          const fresh = structuredClone(draftServices(structuredClone(read), structuredClone(host)));
          anew = numberServices(
            withLeaving(fresh, anew, () => true),
            structuredClone(anew),
          );
          assert.deepEqual(kept, anew);
          services = kept;
        }
      }),
      { numRuns: 120 },
    );
  });

  it('goes on with the plans of services that did not change', () => {
    const texts = [0, 1, 2].map((name) => ({
      name,
      vport: 0,
      lip: 0,
      servers: [0, 1],
      weight: 1,
      maxTrials: 1,
    }));
    const before = parse({ services: texts.map(service) });
    const host = hostWith([1500, 1500, 1500]);
    const plans = numberServices(draftServices(before, host));
    const after = withUnchanged(
      before,
      parse({ services: texts.map((one) => service({ ...one, weight: one.name === 1 ? 2 : 1 })) }),
    );
    // Looked at anew, the host says the same.
    const drafts = withLeaving(draftServices(after, hostWith([1500, 1500, 1500])), plans, () => true);
    const now = numberServices(drafts, plans);
    assert.equal(now[0], plans[0]);
    assert.equal(now[1].realServers[0].weight, 2);
    assert.equal(now[2], plans[2]);
  });

  it('asks nothing else of the host where weights changed, and something else where addresses did', () => {
    const one = { name: 0, vport: 0, lip: 0, servers: [0], weight: 1, maxTrials: 1 };
    const config = (edit: Partial<Edit>): Config => parse({ services: [service({ ...one, ...edit })] });
    assert.ok(needsTheSame(config({}), config({ weight: 0, maxTrials: 0, vport: 1 })));
    assert.ok(!needsTheSame(config({}), config({ lip: 1 })));
    assert.ok(!needsTheSame(config({}), config({ servers: [0, 1] })));
  });
});
