// /metrics of a proxy that is measured, in the words of the Prometheus format.
import type { Network } from './network.ts';

export const METRICS_URL = 'http://127.0.0.1:9464/metrics';

/** As it is now. */
export function metricsOf(network: Network): string {
  const { hostname, port, pathname } = new URL(METRICS_URL);
  const ask = `exec 3<>/dev/tcp/${hostname}/${port}; printf 'GET ${pathname} HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3`;
  return network.exec(['bash', '-ec', ask]);
}

/** The sum of a series over its labels. */
export function sumOf(text: string, series: string): number {
  const lines = new RegExp(`^${series}(?:\\{.*\\})? (\\S+)`, 'gm');
  return [...text.matchAll(lines)].reduce((total, [, value]) => total + Number(value), 0);
}
