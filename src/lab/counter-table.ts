// The proxy's counters as a table: what /metrics says (Prometheus text format), without the series that are
// zero.
import { table } from './screen.ts';

const SERIES = /^uoa_proxy_([a-z_]+?)(?:\{(.*)\})? ([0-9.e+]+)$/gm;
const LABEL = /([a-z_]+)="([^"]*)"/g;
const SHOWN = /_total$|^sessions|^lports_in_use/;

interface Series {
  /** Name without prefix and ending, and the labels other than the service. */
  name: string;
  service: string | undefined;
  value: number;
}

/** Prints one table with a column per service, and one for the rest. */
export function counterTables(metrics: string): void {
  const series = readSeries(metrics).filter(({ value }) => value !== 0);
  const services = [...new Set(series.flatMap(({ service }) => service ?? []))];
  const head = services.map((service) => service || 'no service');
  const perService = series.filter(({ service }) => service !== undefined);
  const names = [...new Set(perService.map(({ name }) => name))];
  const value = (name: string, service: string) =>
    perService.find((one) => one.name === name && one.service === service)?.value ?? 0;
  table([
    ['service', ...head],
    ...names.map((name) => [name, ...services.map((service) => value(name, service))]),
  ]);
  const rest = series.filter(({ service }) => service === undefined);
  if (rest.length > 0) table([['proxy', ''], ...rest.map((one) => [one.name, one.value])]);
}

/** The sum of a family over all its series, e.g. uoa_acked_total. */
export function counterSum(metrics: string, family: string): number {
  const wanted = family.replace(/_total$/, '');
  return readSeries(metrics)
    .filter(({ name }) => name.split(' ')[0] === wanted)
    .reduce((sum, { value }) => sum + value, 0);
}

function readSeries(metrics: string): Series[] {
  return [...metrics.matchAll(SERIES)]
    .filter(([, name]) => SHOWN.test(name))
    .map(([, name, labels, value]) => {
      const pairs = [...(labels ?? '').matchAll(LABEL)].map(([, key, text]) => [key, text] as const);
      const others = pairs.filter(([key]) => key !== 'service').map(([, text]) => text);
      return {
        name: [name.replace(/_total$/, ''), ...others].join(' '),
        service: pairs.find(([key]) => key === 'service')?.[1],
        value: Number(value),
      };
    });
}
