/*
 * Which packets belong to hot sessions, by their ends, and how the steering program and that at tc ingress
 * agree on each. Rings see packets before tc does. So the steering program says once for a packet whether it
 * belongs to a hot session, gives such a one to no ring, and leaves word in `offered`, of every packet that
 * it sees; tc, which is next on the same processor with the same packet, takes the word and goes by it. What
 * tc then cannot forward although it was left to it, it gives back to the interface, marked SLOW, and this
 * time a ring gets it. Without a word, or with an old one, no ring saw the packet, because there is no proxy
 * at the moment: then tc goes by its own look-up.
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

/* An interface. The programs of each have the number of its row. */
struct port {
	__u32 alive_until; /* tick; dead-man: who forwards in the background renews it. 0: switched off */
	__u32 mac_head; /* its Ethernet address as it stands in a frame */
	__u16 mac_tail;
	__u16 faces;
	__u32 ifindex;
	__u32 missed; /* packets that were left to tc, and that it never saw */
	__u32 is_blocked; /* there were too many of them: none is left to tc any more */
};

/* A row for each interface. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct port);
} control SEC(".maps");

/* Of an interface, on a processor. */
struct offer {
	__u64 word; /* jiffies << WORD_SHIFT | SEEN or OFFERED; 0: tc has taken it */
	__u64 misses; /* MISS_WEIGHT for each packet that tc did not see, one less for each that it did */
};
#define SEEN 1 /* the packet is for a ring, or for nobody here */
#define OFFERED 3 /* it is for tc, and no ring has it */
#define WORD_SHIFT 2
/* A word of a packet before is older than so many jiffies, 0.1 to 1 s, but for the odd one. */
#define WORD_LASTS 100

/* By the numbers of interfaces' rows. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct offer);
} offered SEC(".maps");
