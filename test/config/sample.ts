// A valid config as plain data that each test bends in one place; written as JSON, which is YAML.
import assert from 'node:assert/strict';
import { parseConfig } from '../../src/config/load.ts';
import { ConfigError, type Problem } from '../../src/config/problem.ts';
import type { Config } from '../../src/config/schema.ts';

export type Plain = Record<string, unknown>;

export function sampleService(overrides: Plain = {}): Plain {
  return {
    name: 'game',
    vip: '10.1.0.100',
    vport: 6000,
    lips: ['10.2.0.200'],
    realServers: [{ ip: '10.2.0.11', port: 6000 }],
    ...overrides,
  };
}

export function parse(config: unknown): Config {
  return parseConfig(JSON.stringify(config), 'sample.yaml');
}

export function problemsOf(config: unknown): Problem[] {
  return problemsOfText(JSON.stringify(config));
}

export function problemsOfText(text: string): Problem[] {
  try {
    parseConfig(text, 'sample.yaml');
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return [...error.problems];
  }
  return [];
}

/** The problems as `path: message` for configs of the given services. */
export function conflictsOf(...services: Plain[]): string[] {
  return problemsOf({ services }).map(({ path, message }) => `${path}: ${message}`);
}
