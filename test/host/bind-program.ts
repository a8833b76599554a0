// A program for tests: binds a UDP socket { ip, port } and prints { bound }; or prints { said } of the bound
// sockets that stand where { check } wants to be.
import { createSocket } from 'node:dgram';
import { checkBoundSockets } from '../../src/host/ownership.ts';

const { ip, port, check } = JSON.parse(process.argv[2]);
if (check) console.log(JSON.stringify({ said: await checkBoundSockets(check.vips, check.lips) }));
else
  createSocket('udp4').bind(port, ip, () => {
    console.log(JSON.stringify({ bound: true }));
  });
process.stdin.resume().once('end', () => process.exit(0));
