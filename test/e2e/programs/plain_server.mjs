// A UDP server by dgram of Node.js that echoes, as plain_server.py.
// Argument, JSON: {"ip": "10.2.0.11", "port": 6000}
import dgram from 'node:dgram';

const MAGIC = 0x754f4131;
const MARK_LEN = 26;

const { ip, port } = JSON.parse(process.argv[2] ?? '');
const socket = dgram.createSocket({ type: ip.includes(':') ? 'udp6' : 'udp4', recvBufferSize: 4 << 20 });
const stats = { received: 0, empty: 0, attributed: 0, wrong: 0, unnamed: 0 };
const clients = new Set();

function sender(data) {
  if (data.length < MARK_LEN || data.readUInt32BE(0) !== MAGIC) return undefined;
  const address = data.subarray(8, 24);
  return `${address.subarray(12).join('.')}:${data.readUInt16BE(24)}`;
}

socket.on('message', (data, { address, port: from }) => {
  stats.received++;
  if (data.length === 0) stats.empty++;
  const seen = `${address}:${from}`;
  clients.add(seen);
  const named = sender(data);
  if (named === undefined) stats.unnamed++;
  else if (named === seen) stats.attributed++;
  else stats.wrong++;
  socket.send(data, from, address);
});
socket.bind(port, ip, () => console.log(JSON.stringify({ event: 'ready' })));
process.stdin.resume().on('end', () => {
  console.log(JSON.stringify({ event: 'result', ...stats, clients: clients.size }));
  process.exit(0);
});
