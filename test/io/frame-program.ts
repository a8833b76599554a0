// A program for tests: sends Ethernet frames, given as hexadecimal digits, on an interface of its namespace
// (packet(7)).
import { writeSync } from 'node:fs';
import { bindSocket, check, if_nametoindex, socket } from '../../src/sys/libc.ts';

const AF_PACKET = 17;
const SOCK_RAW = 3;

const { device, frames } = JSON.parse(process.argv[2]) as { device: string; frames: string[] };
const fd = check(socket(AF_PACKET, SOCK_RAW, 0), 'socket');
const address = Buffer.alloc(20); // struct sockaddr_ll: family, protocol, interface
address.writeUInt16LE(AF_PACKET, 0);
address.writeInt32LE(if_nametoindex(device), 4);
check(bindSocket(fd, address, address.length), 'bind');
for (const frame of frames) writeSync(fd, Buffer.from(frame, 'hex'));
console.log(JSON.stringify({ done: frames.length }));
