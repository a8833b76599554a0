// What a config says of the log, that of the proxy and that of the receiver.
import { defaulted, optionalGroup } from './key.ts';
import { oneOf } from './reader.ts';

export const log = optionalGroup('Log on standard output.', {
  level: defaulted(
    'Least severe level that is written.',
    oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal'),
    'info',
  ),
  format: defaulted(
    'auto is pretty on a terminal and json otherwise.',
    oneOf('auto', 'json', 'pretty'),
    'auto',
  ),
});
