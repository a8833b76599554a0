// The log on standard output: JSON lines for machines, pretty for people. Written synchronously, so that the last words
// before an exit are not lost; the datapath, which must not wait, does not log.
import pino, { type Logger } from 'pino';
import { prettyFactory } from 'pino-pretty';
import type { Config } from '../config/schema.ts';

export interface LogOutput {
  isTTY?: boolean;
  write(text: string): unknown;
}

export function createLogger({ level, format }: Config['log'], output: LogOutput = process.stdout): Logger {
  const options = { level, timestamp: pino.stdTimeFunctions.isoTime };
  const isTty = output.isTTY === true;
  const pretty = format === 'pretty' || (format === 'auto' && isTty);
  if (!pretty)
    return pino(
      { ...options, formatters: { level: (label) => ({ level: label }) } },
      { write: writer(output) },
    );
  const prettify = prettyFactory({
    colorize: isTty,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'pid,hostname',
  });
  const write = writer(output);
  return pino(options, { write: (line: string) => write(prettify(line)) });
}

function writer(output: LogOutput): (line: string) => void {
  return (line) => {
    output.write(line);
  };
}
