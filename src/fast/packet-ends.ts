// The ends of a session's packets, as they come and as they go on, from its record and the plan that it goes
// by: until it ends that is the one before, where another has taken its place.
import type { Sessions } from '../datapath/walk.ts';
import { CLIENT, cportOf, familyOfClient, lportOf, vipAt } from '../session/session.ts';
import { type Ends, emptyEnds as ends } from './hot-records.ts';

export class PacketEnds {
  readonly #fromClient = ends();
  readonly #toServer = ends();
  readonly #fromServer = ends();
  readonly #toClient = ends();
  readonly fromClient: Ends = this.#fromClient;
  readonly toServer: Ends = this.#toServer;
  readonly fromServer: Ends = this.#fromServer;
  readonly toClient: Ends = this.#toClient;

  /** Makes them those of the session. */
  read({ memory, table }: Sessions, base: number): void {
    const { records } = memory;
    const [service, leg] = [table.serviceOf(base), table.legOf(base)];
    const vip = vipAt(familyOfClient(records, base));
    const [fromClient, toServer] = [this.#fromClient, this.#toServer];
    const [fromServer, toClient] = [this.#fromServer, this.#toClient];
    for (let i = 0; i < 4; i++) {
      fromClient.addresses[i] = toClient.addresses[4 + i] = records[base + CLIENT + i];
      fromClient.addresses[4 + i] = toClient.addresses[i] = service.vips[vip + i];
    }
    toServer.addresses.set(leg.towards);
    fromServer.addresses.set(leg.from);
    fromClient.sport = toClient.dport = cportOf(records, base);
    fromClient.dport = toClient.sport = service.vport;
    toServer.sport = fromServer.dport = lportOf(records, base);
    toServer.dport = fromServer.sport = leg.rport;
  }
}
