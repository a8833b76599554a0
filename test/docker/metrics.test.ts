// The dashboard and the alert rules name what the proxy really has: its /metrics is the judge.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FAST_AT_TC, startSample } from '../admin/sample.ts';
import { startRig } from '../e2e/harness.ts';
import {
  alertQueries,
  dashboardQueries,
  groupingLabels,
  metricsOf,
  readDashboard,
  readRules,
} from './observed.ts';

/** Prometheus adds these itself. */
const OF_PROMETHEUS = ['job', 'instance'];

/** Labels by metric. */
function parseMetrics(text: string): Map<string, Set<string>> {
  const metrics = new Map<string, Set<string>>();
  for (const [, name = ''] of text.matchAll(/^# TYPE (\S+)/gm)) metrics.set(name, new Set());
  for (const [, name = '', labels = ''] of text.matchAll(/^(\w+)\{(.*)\} /gm)) {
    for (const [, label = ''] of labels.matchAll(/(\w+)="/g)) metrics.get(name)?.add(label);
  }
  return metrics;
}

test('dashboard and alerts name only metrics and labels that a running proxy has', async (t) => {
  const rig = await startRig(t, { clients: 1, servers: 2 });
  const metrics = parseMetrics((await rig.proxy.get('/metrics')).body);
  assert.ok(metrics.size > 20);
  // What never counted there has no series, and so no labels: they are the same where all of it did.
  const switchedOff = { all: false, services: ['game'] };
  const sample = await startSample(t, {
    ...FAST_AT_TC,
    fastPath: () => ({ ...FAST_AT_TC.fastPath(), switchedOff }),
  });
  sample.sources.counters.fill(1);
  sample.sources.servers.fill(1);
  for (const [name, labels] of parseMetrics(await sample.metrics())) {
    if (metrics.get(name)?.size === 0) metrics.set(name, labels);
  }

  const queries = [...dashboardQueries(), ...alertQueries()];
  const wrong: string[] = [];
  for (const { where, expression } of queries) {
    const named = metricsOf(expression);
    const known = named.filter(({ name }) => metrics.has(name));
    for (const { name } of named) {
      if (!metrics.has(name)) wrong.push(`${where}: there is no metric ${name}`);
    }
    for (const { name, labels } of known) {
      for (const label of labels.filter((each) => !OF_PROMETHEUS.includes(each))) {
        if (!metrics.get(name)!.has(label)) wrong.push(`${where}: ${name} has no label ${label}`);
      }
    }
    // Who groups by a label wants it on some metric of the expression.
    if (known.length < named.length) continue;
    for (const label of groupingLabels(expression).filter((each) => !OF_PROMETHEUS.includes(each))) {
      if (!known.some(({ name }) => metrics.get(name)!.has(label))) {
        wrong.push(`${where}: nothing has the label ${label} that it groups by`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});

describe('docker/grafana/dashboard.json', () => {
  const { panels } = readDashboard();

  test('panels have an id and a title of their own and do not overlap', () => {
    assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
    assert.equal(new Set(panels.map(({ title }) => title)).size, panels.length);
    const cells = panels.flatMap(({ title, gridPos: { x, y, w, h } }) => {
      assert.ok(x + w <= 24, title);
      return Array.from({ length: w * h }, (_, i) => `${x + (i % w)},${y + Math.floor(i / w)}`);
    });
    assert.equal(new Set(cells).size, cells.length);
  });

  test('shows traffic, the fast path, sessions, UOA, drops, real servers and processes', () => {
    const rows = panels.filter(({ type }) => type === 'row').map(({ title }) => title);
    assert.deepEqual(rows, [
      'At a glance',
      'Traffic',
      'Fast path',
      'Sessions',
      'UOA',
      'Drops and losses',
      'Real servers',
      'Processes',
    ]);
  });
});

test('an annotation shows only labels that its alert has', () => {
  const wrong = readRules().flatMap(({ alert, expr, annotations }) => {
    const grouped = groupingLabels(expr);
    const shown = [...JSON.stringify(annotations).matchAll(/\$labels\.(\w+)/g)].map(
      ([, label = '']) => label,
    );
    const aggregates = /\b(sum|max) by/.test(expr);
    return shown
      .filter((label) => aggregates && !grouped.includes(label))
      .map((label) => `${alert}: ${label}`);
  });
  assert.deepEqual(wrong, []);
});
