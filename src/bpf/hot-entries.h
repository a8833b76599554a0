/*
 * Which packets belong to hot sessions, by their ends, and how the steering program and that at tc ingress
 * agree on each. Rings see packets before tc does. So the steering program says once for a packet whether it
 * belongs to a hot session, gives such a one to no ring, and leaves word in `offered`, of every packet that
 * it sees; tc, which is next on the same processor with the same packet, takes the word and goes by it. What
 * tc then cannot forward although it was left to it, it gives back to the interface, marked SLOW, and this
 * time a ring gets it. Without a word, or with an old one, no ring saw the packet, because there is no proxy
 * at the moment: then tc goes by its own look-up.
 *
 * All that is known of a hot session is one row, of one cache line, and its IPv6 addresses are a second one.
 * Rows are found by a hash table of our own (hot-lookup.h), because one of the kernel's takes more than all
 * of this for each entry. Processes write rows and table as memory (src/fast/hot-entries.ts).
 */
#pragma once
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

/* Of skb->mark. */
#define SLOW 0x756f6131

/* Of pairs: packets of clients, and of real servers. */
#define INBOUND 0
#define OUTBOUND 1

/*
 * A hot session. What comes with the ends of one direction leaves with those of the other, turned. Who
 * changes any of it but counts, times, hops, `idle` and notes ends the session before, so that no packet
 * gets a part of both.
 */
struct hot {
	__u64 counts[2]; /* packets << PACKETS_SHIFT, IP bytes; one word, so that it is exact with one addition */
	__u64 addresses[2]; /* as packets come: source, destination; 0 of IPv6 */
	__be32 ports[2]; /* the same */
	__u32 seen[2]; /* tick of the last packet */
	__u16 hops[2]; /* by which packets go on */
	__u16 notes[2]; /* for who takes over, see src/fast/heritage.ts */
	__u16 generation; /* odd while the session is hot; another one each time that it begins or ends */
	__u16 idle; /* clients' packets after such a silence are not forwarded; 0: all are */
	__u16 difference; /* of the UDP checksum of clients' packets, as it stands in memory */
	__u16 family; /* 4, 6 */
};
#define PACKETS_SHIFT 38
/* Where so many upper bits of packets or bytes are set, 63 M or 257 GB, nothing more is counted there. */
#define FULL_BITS 4
#define ALL_FULL ((1 << FULL_BITS) - 1)

/* Of the same session: as its packets come, source and destination. */
struct hot6 {
	__u64 addresses[2][4];
};

/* By the sessions' numbers. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hot);
} hot SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hot6);
} hot6 SEC(".maps");

/* A part of the hash table: a cache line. */
#define HOT_PLACES 8
struct hot_bucket {
	__u32 tags[HOT_PLACES];
	__u32 entries[HOT_PLACES]; /* 2 * session + direction + 1; 0: nobody's */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hot_bucket);
} hot_buckets SEC(".maps");

/* By what ends are hashed, and nobody else knows: factors of the halves of eight words and one. */
#define HASHED_WORDS 9
struct hashing {
	__u32 mask; /* of the number of a bucket */
	__u32 start;
	__u32 factors[2 * HASHED_WORDS];
};

/* One. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hashing);
} hashing SEC(".maps");

/* An interface. The programs of each have the number of its row. */
struct port {
	__u32 alive_until; /* tick; dead-man: who forwards in the background renews it. 0: switched off */
	__u32 mac_head; /* its Ethernet address as it stands in a frame */
	__u16 mac_tail;
	__u16 faces; /* and IS_SHARED */
	__u32 ifindex;
	__u32 missed; /* packets that were left to tc, and that it never saw */
	__u32 is_blocked; /* there were too many of them: none is left to tc any more */
};

/*
 * A bit of `faces`, while one proxy takes over from another: the programs of one of them take the packets
 * that both leave to tc, so that nothing is missed by the other.
 */
#define IS_SHARED 4

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
