// A UDP server in a language that cannot read IP options: it asks the proxy once who is behind a LIP:lport, and
// answers each datagram with its client's address. Dialect none is enough for it.
// Usage: node look-up.mjs IP PORT ADMIN    (ADMIN as http://10.2.0.1:9464; the token, where there is one, in
// UOA_PROXY_TOKEN). IP:PORT is the real server as the proxy's config names it.
import { createSocket } from 'node:dgram';
import { Agent, get } from 'node:http';

const [ip, port, admin] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true, maxSockets: 8 });
const token = process.env.UOA_PROXY_TOKEN;
const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
/** After this long without a datagram another client may have the LIP:lport. */
const SILENT_MS = 30_000;
/** By source address, LIP:lport: { client, or what is asked (a promise) , seenAt }. */
const clients = new Map();

const endpoint = (host, number) => (host.includes(':') ? `[${host}]:${number}` : `${host}:${number}`);

/** Resolves with the client; with the LIP:lport itself where the proxy knows none, or cannot be asked. */
function lookUp(local) {
  const path = `/session?lip=${encodeURIComponent(local)}&rs=${encodeURIComponent(endpoint(ip, port))}`;
  return new Promise((resolve) => {
    const asked = get(admin + path, { agent, headers, timeout: 2000 }, (answer) => {
      let body = '';
      answer.setEncoding('utf8').on('data', (text) => (body += text));
      answer.on('end', () => {
        const { client, clientPort } = answer.statusCode === 200 ? JSON.parse(body) : {};
        resolve(client && { name: endpoint(client, clientPort) });
      });
      answer.on('error', () => resolve());
    });
    asked.on('error', () => resolve()).on('timeout', () => asked.destroy());
  });
}

async function clientOf(local) {
  const now = Date.now();
  let known = clients.get(local);
  if (known === undefined || now - known.seenAt > SILENT_MS) {
    known = { seenAt: now, found: lookUp(local) };
    clients.set(local, known);
  }
  known.seenAt = now;
  const found = await known.found;
  // Asked again with the next datagram.
  if (found === undefined && clients.get(local) === known) clients.delete(local);
  return found?.name ?? local;
}

const socket = createSocket(ip.includes(':') ? 'udp6' : 'udp4');
socket.on('message', async (payload, source) => {
  const who = await clientOf(endpoint(source.address, source.port));
  socket.send(Buffer.concat([Buffer.from(`${who} `), payload]), source.port, source.address);
});
socket.bind(Number(port), ip, () => console.log('ready'));
