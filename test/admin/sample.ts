// A running admin server over typed arrays that a test fills as the datapath would.

import type { TestContext } from 'node:test';
import { type AdminServer, type AdminSources, startAdmin } from '../../src/admin/server.ts';
import { parseConfig } from '../../src/config/load.ts';
import { counterCells } from '../../src/datapath/counters.ts';
import { IO_COUNTERS } from '../../src/io/packet-io.ts';
import type { SessionFilter } from '../../src/session/snapshot.ts';

const CONFIG = `
sessions: { max: 5000 }
services:
  - { name: game, vip: ["fd00:1::100", 10.1.0.100], vport: 6000, lips: [10.2.0.200], realServers: [{ ip: 10.2.0.11, port: 6000 }] }
  - vip: 10.1.0.100
    vport: 6001
    lips: [10.2.0.200, "fd00:2::200"]
    uoa: { dialect: opp, onUnsupported: unified, unifiedType: 30 }
    realServers: [{ ip: 10.2.0.12, port: 6000 }, { ip: "fd00:2::12", port: 6000, dialect: elb }]
`;

export interface SampleAdmin {
  sources: AdminSources;
  /** What the last /sessions request asked for. */
  asked: SessionFilter[];
  url(path: string): string;
  get(path: string): Promise<{ status: number; json: Record<string, unknown> }>;
  metrics(): Promise<string>;
}

export async function startSample(
  context: TestContext,
  overrides: Partial<AdminSources> = {},
): Promise<SampleAdmin> {
  const config = parseConfig(CONFIG, 'sample.yaml');
  const asked: SessionFilter[] = [];
  const sources: AdminSources = {
    version: '1.2.3',
    startedAt: new Date(1_700_000_000_000),
    config,
    services: config.services.map(({ name, vip, vport, scheduler, uoa, realServers }) => ({
      name,
      vips: vip,
      vport,
      scheduler,
      maxTrials: uoa.maxTrials,
      unifiedType: uoa.unifiedType,
      onUnsupported: uoa.onUnsupported,
      realServers: realServers.map((one) => ({ ...one, dialect: one.dialect ?? uoa.dialect })),
    })),
    legs: [
      { lip: '10.2.0.200', capacity: 100 },
      { lip: '10.2.0.200', capacity: 50 },
      { lip: '10.2.0.201', capacity: 7 },
    ],
    legsInUse: new Float64Array([3, 4, 5]),
    counters: new Float64Array(counterCells(2)),
    refusals: new Float64Array(3),
    ports: [{ name: 'wan0' }, { name: 'lan0' }],
    io: new Float64Array(3 * IO_COUNTERS.length),
    refresh: () => {},
    ioMode: 'pcap',
    readiness: () => ({ ready: true, reason: 'serving 2 services' }),
    datapathPids: () => [process.pid, process.ppid],
    sessions: {
      list(query) {
        asked.push(query);
        return { total: 1, sessions: [{ client: '10.1.0.2:5000' }] };
      },
    },
    ...overrides,
  };
  const admin: AdminServer = await startAdmin(sources, { host: '127.0.0.1', port: 0 });
  context.after(() => admin.close());
  const url = (path: string) => `http://127.0.0.1:${admin.address.port}${path}`;
  return {
    sources,
    asked,
    url,
    async get(path) {
      const response = await fetch(url(path));
      return { status: response.status, json: (await response.json()) as Record<string, unknown> };
    },
    metrics: async () => (await fetch(url('/metrics'))).text(),
  };
}
