// What the dashboard and the alert rules ask Prometheus for.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { ROOT } from './dockerfile.ts';

export const ALERTS = join(ROOT, 'docker/prometheus/alerts.yml');

export interface Query {
  /** Panel or alert. */
  where: string;
  expression: string;
}

export interface Rule {
  alert: string;
  expr: string;
  for?: string;
  labels: { severity: string };
  annotations: { summary: string; description: string };
}

export function readRules(): Rule[] {
  const { groups } = parse(readFileSync(ALERTS, 'utf8')) as { groups: { rules: Rule[] }[] };
  return groups.flatMap(({ rules }) => rules);
}

export interface Panel {
  id: number;
  type: string;
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: { refId: string; expr: string }[];
}
export interface Dashboard {
  uid: string;
  panels: Panel[];
  templating: { list: { name: string; type: string; definition?: string }[] };
}

export function readDashboard(): Dashboard {
  return JSON.parse(readFileSync(join(ROOT, 'docker/grafana/dashboard.json'), 'utf8')) as Dashboard;
}

/** The dashboard's queries, its variables replaced as Grafana would where all is chosen. */
export function dashboardQueries(): Query[] {
  const { panels, templating } = readDashboard();
  const variables = templating.list.flatMap(({ name, definition }) => {
    const query = /^label_values\((.*), \w+\)$/.exec(definition ?? '')?.[1];
    return query === undefined ? [] : [{ where: `variable ${name}`, expression: query }];
  });
  const shown = panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ refId, expr }) => ({ where: `panel "${title}" ${refId}`, expression: expr })),
  );
  return [...variables, ...shown].map(({ where, expression }) => ({
    where,
    expression: expression
      .replaceAll('$__rate_interval', '1m')
      .replaceAll('$job', 'uoa-proxy')
      .replaceAll(/\$(instance|service)/g, '.+'),
  }));
}

export function alertQueries(): Query[] {
  return readRules().map(({ alert, expr }) => ({ where: `alert ${alert}`, expression: expr }));
}

/** Each metric of ours in an expression, with the labels that its selector names. */
export function metricsOf(expression: string): { name: string; labels: string[] }[] {
  return [...expression.matchAll(/\b(uoa_proxy_\w+)(?:\{([^}]*)\})?/g)].map(
    ([, name = '', selector = '']) => ({
      name,
      labels: [...selector.matchAll(/(\w+)\s*[!=]~?"/g)].map(([, label = '']) => label),
    }),
  );
}

/** The labels that an expression groups by or that its legend or annotations show. */
export function groupingLabels(text: string): string[] {
  return [...text.matchAll(/\b(?:by|on) \(([^)]*)\)/g)].flatMap(([, list = '']) => list.split(/\s*,\s*/));
}
