/*
 * What the fast path is told, and what it tells: maps that processes write (src/fast/layout.ts has the same
 * layouts, and makes the maps, of the sizes that it chooses) and that outlive them where they are pinned.
 * Whoever changes a layout changes its version there.
 *
 * A tick is 2^27 ns (134 ms) of the monotonic clock; ticks are compared with wrap-around (18 years).
 */
#pragma once
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include "hot-entries.h"

#define TICK_SHIFT 27
/* `idle` counts these: 2^30 ns. */
#define IDLE_SHIFT 3

/* A row of an interface, in which bits are set for whom it faces. */
#define FACES_CLIENTS 1
#define FACES_REAL_SERVERS 2

/* Where packets go to at layer 2. */
struct way {
	__u32 ifindex; /* 0: nowhere now */
	__u32 mtu; /* largest IP packet, bytes */
	__u32 macs[3]; /* destination and source as they stand in a frame */
};

/* A next hop. It is changed in one step: the other way is written, then `current`. */
struct hop {
	/*
	 * Tick from which on, for CONFIRM_TICKS, a packet is to go by the kernel's IP layer. Who lives and takes it
	 * asks for that; nobody else does, so that none is lost where nobody lives.
	 */
	__u32 confirm_at;
	__u32 current; /* 0 or 1 */
	struct way ways[2];
};
#define CONFIRM_TICKS 4
#define NOT_ASKED (1 << 30)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hop);
} hops SEC(".maps");

/* Interfaces that XDP may redirect to, by their ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} ports SEC(".maps");

/* Packets that were left to the slow path, by reason; of FORWARDED those that no row counts. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} passed SEC(".maps");
