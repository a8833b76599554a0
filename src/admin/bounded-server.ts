// An HTTP server that goes on answering whatever some of its clients do: slow, silent and greedy ones, and
// more than it has room for. Node's own limit on connections would turn away newcomers, so that idle ones
// could keep everybody out.
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { Socket } from 'node:net';

const CONNECTIONS_MAX = 256;
const REQUEST_MS = 10_000;
const KEEP_ALIVE_MS = 20_000;
const SILENT_MS = 30_000;
/**
 * What a request line and headers may take; a client's own cookie jar would not fit, and none is expected.
 */
const HEADER_BYTES = 8192;

export function createBoundedServer(handle: RequestListener): Server {
  const connections = new Connections();
  const server = createServer(
    {
      maxHeaderSize: HEADER_BYTES,
      headersTimeout: REQUEST_MS,
      requestTimeout: REQUEST_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      // Otherwise the two limits above are looked at every 30 s only.
      connectionsCheckingInterval: 1000,
    },
    (request, response) => {
      connections.use(request.socket);
      inTurn(request, response, handle);
    },
  );
  server.setTimeout(SILENT_MS);
  server.on('connection', (socket: Socket) => connections.add(socket));
  return server;
}

/** At most CONNECTIONS_MAX: for one more, the one whose last request is longest ago gives way. */
class Connections {
  readonly #longestUnusedFirst = new Set<Socket>();

  add(socket: Socket): void {
    this.#longestUnusedFirst.add(socket);
    socket.once('close', () => this.#longestUnusedFirst.delete(socket));
    if (this.#longestUnusedFirst.size <= CONNECTIONS_MAX) return;
    const [unused] = this.#longestUnusedFirst;
    this.#longestUnusedFirst.delete(unused);
    unused.destroy();
  }

  use(socket: Socket): void {
    if (this.#longestUnusedFirst.delete(socket)) this.#longestUnusedFirst.add(socket);
  }
}

type Pipelined = [IncomingMessage, ServerResponse];
const waiting = new WeakMap<Socket, Pipelined[]>();

/**
 * Requests of one connection one after the other, and other connections in between: a single packet can hold
 * two thousand pipelined requests, which Node would hand out all at once.
 */
function inTurn(request: IncomingMessage, response: ServerResponse, handle: RequestListener): void {
  const { socket } = request;
  const queue = waiting.get(socket);
  if (queue !== undefined) {
    queue.push([request, response]);
    return;
  }
  const following: Pipelined[] = [];
  waiting.set(socket, following);
  const begin = ([first, answer]: Pipelined): void => {
    answer.once('close', () => setImmediate(next));
    handle(first, answer);
  };
  const next = (): void => {
    const pipelined = socket.destroyed ? undefined : following.shift();
    if (pipelined === undefined) waiting.delete(socket);
    else begin(pipelined);
  };
  begin([request, response]);
}
