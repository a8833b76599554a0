// Families as Prometheus has them (the only importer of prom-client). Each is read at every scrape, and
// nothing is kept in between.
import { Counter, Gauge, Registry } from 'prom-client';
import type { Family } from './families.ts';

/** `prefix` stands in front of all names. */
export function createRegistry(prefix: string, families: readonly Family[]): Registry {
  const registry = new Registry();
  for (const family of families) register(family, prefix, registry);
  return registry;
}

function register(family: Family, prefix: string, registry: Registry): void {
  const options = {
    name: prefix + family.name,
    help: family.help,
    labelNames: family.labels ?? [],
    registers: [registry],
  };
  if (family.type === 'counter') {
    const counter = new Counter({
      ...options,
      collect() {
        counter.reset();
        // Reset leaves a 0 there, which is wrong where there is nothing to read.
        if (!family.labels) counter.remove();
        family.read((value, labels = {}) => {
          if (value > 0 || !family.isSparse) counter.inc(labels, value);
        });
      },
    });
  } else {
    const gauge = new Gauge({
      ...options,
      collect() {
        gauge.reset();
        if (!family.labels) gauge.remove();
        family.read((value, labels = {}) => gauge.set(labels, value));
      },
    });
  }
}
