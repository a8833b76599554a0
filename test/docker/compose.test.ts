// What docker/compose.yaml must hold together: addresses, names, volumes, and no more rights than needed.
// image.test.ts runs its services.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import { uoaProxy } from '../cli/program.ts';
import { readCompose, volumeOf } from './compose.ts';
import { ROOT } from './dockerfile.ts';

const { services, networks, volumes } = readCompose();
const all = Object.entries(services);

interface ProxyConfig {
  admin: { listen: string };
  sessions: { stateFile: string };
  services: { vip: string; lips: string[]; realServers: { ip: string }[] }[];
}
const proxy = parse(readFileSync(join(ROOT, 'docker/compose/proxy.yaml'), 'utf8')) as ProxyConfig;

describe('docker/compose.yaml', () => {
  test("the load balancer's config has no problem", () => {
    const { code, stdout, stderr } = uoaProxy('check', '--config', 'docker/compose/proxy.yaml');
    assert.equal(stdout, 'OK: 1 service, 1 VIP, 1 LIP, 2 real servers\n', stderr);
    assert.equal(code, 0);
  });

  test('every address lies in its network, stands once, and is not the gateway', () => {
    const taken = Object.values(networks).map(({ ipam }) => ipam.config[0].gateway);
    for (const [, service] of all) {
      for (const [name, { ipv4_address: ip }] of Object.entries(service.networks)) {
        const { subnet } = networks[name].ipam.config[0];
        assert.match(subnet, /\.0\/24$/);
        assert.ok(ip.startsWith(subnet.replace(/0\/24$/, '')), `${ip} in ${subnet}`);
        taken.push(ip);
      }
    }
    assert.equal(new Set(taken).size, taken.length);
  });

  test("the proxy's addresses are those that the file gives to its services", () => {
    const own = services['load-balancer'].networks;
    const [service] = proxy.services;
    assert.equal(service.vip, own.wan.ipv4_address);
    assert.equal(proxy.admin.listen, `${own.monitor.ipv4_address}:9464`);
    assert.equal(
      services['load-balancer'].environment!.UOA_PROXY_ADMIN,
      proxy.admin.listen,
      'the health check asks there',
    );
    assert.deepEqual(
      service.lips,
      Object.values(networks.lan.ipam.config[0].aux_addresses!),
      'Docker gives it to nobody',
    );
    assert.deepEqual(
      service.realServers.map(({ ip }) => ip),
      ['real-server-1', 'real-server-2'].map((name) => services[name].networks.lan.ipv4_address),
    );
  });

  test('every volume is declared or a file of the repository, and those are read-only', () => {
    for (const [name, service] of all) {
      for (const text of service.volumes ?? []) {
        const { from, isFile, readOnly } = volumeOf(text);
        if (isFile) assert.ok(existsSync(join(ROOT, from)) && readOnly, `${name}: ${text}`);
        else assert.ok(text.split(':')[0] in volumes, `${name}: ${text}`);
      }
    }
  });

  test('sessions are saved on a volume, whose folder in the image belongs to its user', () => {
    const folder = dirname(proxy.sessions.stateFile);
    const mounted = services['load-balancer'].volumes!.map(volumeOf).find(({ to }) => to === folder);
    assert.deepEqual([mounted?.isFile, mounted?.readOnly], [false, false]);
    const dockerfile = readFileSync(join(ROOT, 'docker/Dockerfile'), 'utf8');
    assert.match(dockerfile, new RegExp(`install --directory --owner uoa .* ${folder} `));
  });

  test('nobody is privileged, all capabilities are dropped but those that are needed, and ports are open on loopback only', () => {
    for (const [name, service] of all) {
      assert.equal(service.privileged, undefined, name);
      assert.deepEqual(service.cap_drop, ['ALL'], name);
      for (const port of service.ports ?? []) assert.match(port, /^127\.0\.0\.1:/, name);
    }
    assert.deepEqual(
      Object.fromEntries(
        all.filter(([, { cap_add }]) => cap_add).map(([name, { cap_add }]) => [name, cap_add]),
      ),
      {
        'load-balancer': ['NET_ADMIN', 'NET_RAW', 'BPF'],
        'real-server-1': ['NET_RAW'],
        'real-server-2': ['NET_RAW'],
      },
    );
  });

  test('what a service depends on exists, and images of others are pinned', () => {
    for (const [name, { depends_on = [], image, build }] of all) {
      const others = Array.isArray(depends_on) ? depends_on : Object.keys(depends_on);
      for (const other of others) assert.ok(other in services, `${name} depends on ${other}`);
      if (build === undefined) assert.match(image, /:v?\d+\.\d+\.\d+$/, name);
    }
  });

  test('Prometheus and Grafana are told the names and paths that the file gives', () => {
    const read = (path: string) => readFileSync(join(ROOT, 'docker', path), 'utf8');
    const { scrape_configs } = parse(read('prometheus/prometheus.yml')) as {
      scrape_configs: { static_configs: { targets: string[] }[] }[];
    };
    assert.deepEqual(scrape_configs[0].static_configs[0].targets, ['load-balancer:9464']);
    assert.match(read('grafana/provisioning/datasources/prometheus.yaml'), /url: http:\/\/prometheus:9090/);
    const { environment, volumes: mounted } = services.grafana;
    const path = environment!.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH;
    assert.ok(mounted!.some((text) => volumeOf(text).to === path));
    assert.match(read('grafana/provisioning/dashboards/uoa-proxy.yaml'), /path: \/etc\/grafana\/dashboards/);
  });
});
