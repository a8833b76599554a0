// Least connection: the real server with the fewest sessions; the weight only says whether it takes part. Of
// several with as few, the next in turn.
import type { ServerSet } from './scheduler.ts';
import { WeightedLeastConnection } from './wlc.ts';

export class LeastConnection extends WeightedLeastConnection {
  constructor(servers: ServerSet) {
    super(servers, new Int32Array(servers.weights.length).fill(1));
  }
}
