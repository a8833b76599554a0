// The proxy's config in the lab: config/lab.yaml of this package, with the real servers and the dialect that
// were asked for. The file is edited as text, so that what a person reads there is what runs.
import { readFileSync } from 'node:fs';
import type { LabDialect } from './family.ts';
import { families } from './topology.ts';

const LAB_CONFIG = new URL('../../config/lab.yaml', import.meta.url);
const REAL_SERVERS = /^( *)realServers:\n(?:\1 +- .*\n?)+/gm;
const IPV6_ADDRESSES = /, [0-9a-f]+:[0-9a-f:]+/g;

export interface LabConfigOptions {
  serverIps: readonly string[];
  port: number;
  dialect: LabDialect;
}

export function labConfig({ serverIps, port, dialect }: LabConfigOptions): string {
  let text = readFileSync(LAB_CONFIG, 'utf8');
  if (!families().includes(6)) text = text.replace(IPV6_ADDRESSES, '');
  let replaced = 0;
  const config = text.replace(REAL_SERVERS, (_, indent: string) => {
    replaced++;
    const servers = serverIps.map((ip) => `${indent}  - { ip: ${ip}, port: ${port} }\n`);
    return `${indent}uoa: { dialect: ${dialect}, carriage: inserted }\n${indent}realServers:\n${servers.join('')}`;
  });
  if (replaced === 0) throw new Error('config/lab.yaml has no realServers to replace');
  return config;
}

/** The vports that config/lab.yaml serves. */
export function labVports(): number[] {
  return [...readFileSync(LAB_CONFIG, 'utf8').matchAll(/^ *vport: (\d+)/gm)].map((match) => Number(match[1]));
}
