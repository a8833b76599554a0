// Enters a network namespace, for the load process, which attaches programs in many.
import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';
import { check } from '../src/sys/libc.ts';

const setns = koffi.load('libc.so.6').func('int setns(int fd, int kind)');
const CLONE_NEWNET = 0x4000_0000;

/** Moves the calling thread, which must be the main one, into a namespace of `ip netns`. */
export function enterNamespace(name: string): void {
  const fd = openSync(`/run/netns/${name}`, 'r');
  try {
    check(setns(fd, CLONE_NEWNET), 'setns');
  } finally {
    closeSync(fd);
  }
}
