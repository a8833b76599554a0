// What the other ends of the load balancer's links must be where it forwards by XDP (see
// programs/xdp_peer.py). Its own ends keep their offloads.
import { fileURLToPath } from 'node:url';
import { inNamespace, run } from '../../src/lab/namespace.ts';
import type { Topology } from '../../src/lab/topology.ts';

const PROGRAM = fileURLToPath(new URL('./programs/xdp_peer.py', import.meta.url));

/** `python`: path of python3. */
export function prepareXdpPeers({ kind, namespaces }: Topology, python: string): void {
  const prepare = (namespace: string, ...devices: string[]) =>
    run(inNamespace(namespace, [python, '-B', PROGRAM, ...devices]));
  if (kind === 'one-arm') {
    // The load balancer's peer is the bridge, which takes checksums as its other ports send them.
    prepare(namespaces.bridge!, 'tolb');
    for (const role of ['client', 'rs'] as const) prepare(namespaces[role], 'eth0:tx');
    return;
  }
  prepare(namespaces.client, 'eth0');
  if (kind === 'two-arm') prepare(namespaces.rs, 'eth0');
}
