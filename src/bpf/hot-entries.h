/*
 * Which packets belong to hot sessions, by their ends, and how the steering program and that at tc ingress
 * agree on each. Rings see packets before tc does. So the steering program says once for a packet whether it
 * belongs to a hot session, gives such a one to no ring, and leaves word of it in `offered`; tc, which is
 * next on the same processor with the same packet, goes by that word only. What it then cannot forward it
 * gives back to the interface, marked SLOW, and this time a ring gets it.
 */
#pragma once
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

/* Of skb->mark. */
#define SLOW 0x756f6131

/* What becomes of packets with the ends that are the key: one of the two directions of a session. */
struct hot {
	__be32 ports; /* source and destination to write */
	__u16 difference; /* of the UDP checksum, as it stands in memory */
	__u16 hop;
	__u32 row; /* of `activity` */
	__u16 generation;
	__u16 idle; /* clients' packets after such a silence are not forwarded; 0: all are */
};

/*
 * Words of eight bytes, also where less would do: the verifier wants them on the stack (packet.h). Source
 * and destination address, then the ports in the lower half.
 */
struct key4 {
	__u64 addresses;
	__u64 ports;
};

struct key6 {
	__u64 addresses[4];
	__u64 ports;
};

struct hot4 {
	__u64 addresses; /* to write */
	struct hot to;
};

struct hot6 {
	__u64 addresses[4];
	struct hot to;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct key4);
	__type(value, struct hot4);
} hot4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct key6);
	__type(value, struct hot6);
} hot6 SEC(".maps");

/* Whether the packet under way on this processor belongs to a hot session and was given to no ring. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} offered SEC(".maps");
