// The log: JSON lines for machines, pretty for people. The datapath does not log.
import pino, { type Logger } from 'pino';
import { prettyFactory } from 'pino-pretty';
import type { Config } from '../config/schema.ts';

export interface LogTarget {
  readonly isTTY: boolean;
  write(text: string): void;
}

export function createLogger({ level, format }: Config['log'], output: LogTarget): Logger {
  const options = { level, timestamp: pino.stdTimeFunctions.isoTime };
  const pretty = format === 'pretty' || (format === 'auto' && output.isTTY);
  if (!pretty) return pino({ ...options, formatters: { level: (label) => ({ level: label }) } }, output);
  const prettify = prettyFactory({
    colorize: output.isTTY,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'pid,hostname',
  });
  return pino(options, { write: (line: string) => output.write(prettify(line)) });
}
