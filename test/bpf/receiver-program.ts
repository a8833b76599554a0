// Loads the receiver's programs, with the rights that it is run with.
import { loadPrograms } from '../../src/receiver/hooks.ts';
import { openMaps } from '../../src/receiver/maps.ts';

const maps = openMaps(undefined, 100);
loadPrograms(maps).close();
maps.close();
process.stdout.write('loaded\n');
