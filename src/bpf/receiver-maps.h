/*
 * What the programs of the receiver know, and tell: src/receiver/layout.ts has the same. Addresses are 16
 * bytes, IPv4 v4-mapped; addresses and ports are in network byte order. All parts are of eight bytes, because
 * of the verifier (packet.h).
 */
#pragma once
/* Of its functions some are not for who sees no frames of the wire. */
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wunused-function"
#include "packet.h"
#pragma clang diagnostic pop

/* The words of ::ffff:0:0/96 in memory. */
#define MAPPED_WORD bpf_htonl(0xffff)

struct address {
	__u64 high;
	__u64 low;
};

/* Of both directions. */
struct tuple {
	struct address peer;
	struct address bound; /* what the socket is bound to; 0: any address */
	__u64 ports; /* the peer's, the socket's */
};

#define TUPLE_PORTS(peer, own) ((__u64)(__u16)(peer) | (__u64)(__u16)(own) << 16)

/* Who sends by a LIP:lport. */
struct learned {
	struct address rip; /* what it was sent to */
	struct address client;
	struct address vip; /* 0: not told */
	union {
		struct {
			__be16 cport;
			__be16 vport;
			__u32 flags;
		};
		__u64 ports_and_flags;
	};
	__u64 used; /* tick in which a program saw it, or it was told */
	__u64 asks; /* of ACKs: how often in the tick that is in the bits above ASKS_BITS */
};

/* The client's newest datagram came by another LIP:lport, which answers go to. */
#define DISPLACED 1
/* LIP and client are of different families: a socket could not answer to the client's address. */
#define CROSSED 2

/* So many ACKs in a tick: the first ones may be lost. */
#define ASKS_MAX 4
#define ASKS_BITS 3

/* Where answers to a client go to. */
struct way {
	struct address rip;
	struct address lip;
	union {
		__be16 lport;
		__u64 port;
	};
	__u64 used;
};

/* What a real server is to tell the proxy: that it has read this UOA. */
#define OPTION_MAX 40
struct told {
	struct address lip;
	struct address rip;
	__be16 lport;
	__be16 rport;
	__u32 option_len;
	__u8 option[OPTION_MAX];
};

/* On the stack it is made of three parts. */
union prefix {
	__u64 parts[3];
	struct {
		__u32 length;
		__u32 words[4];
	} key;
};
#define PREFIX_LEN 20

/* What a socket's last datagram brought. */
struct heard {
	struct address client;
	struct address vip;
	__be16 cport;
	__be16 vport;
	__u32 pad;
};

/* Ticks are 2^30 ns of CLOCK_MONOTONIC. */
#define TICK_SHIFT 30

enum receiver_counter {
	LEARNED, /* a LIP:lport that was not known, or was another client's */
	TOLD_AGAIN,
	CARRIER, /* kept from the program */
	IGNORED, /* a UOA of a source that is not trusted */
	MALFORMED,
	FULL, /* no room for another client */
	UNSENT, /* no room to ask for an acknowledgement */
	RECEIVED, /* rewritten */
	RECEIVED_OTHER, /* by no LIP:lport that is known */
	RECEIVED_CROSSED,
	SENT, /* rewritten */
	CONNECTED,
	NAMED, /* getpeername */
	ASKED, /* getsockopt */
	NOT_AGAIN, /* acknowledged often enough */
	RECEIVER_COUNTERS,
};

/* Sizes are those that src/receiver/maps.ts makes them with. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct tuple);
	__type(value, struct learned);
} by_lip SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct tuple);
	__type(value, struct way);
} by_client SEC(".maps");

/* From whom a UOA is believed. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__uint(key_size, PREFIX_LEN);
	__type(value, __u32);
} trusted SEC(".maps");

/* Who else sent one, and how often: the last ones. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct address);
	__type(value, __u64);
} ignored SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RECEIVER_COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counted SEC(".maps");

/* Read by the receiver's process, if one runs. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} to_acknowledge SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct heard);
} last_heard SEC(".maps");

static __always_inline void count_one(enum receiver_counter counter)
{
	__u64 key = counter; /* of which four bytes are read */
	__u64 *count = bpf_map_lookup_elem(&counted, &key);

	if (count)
		*count += 1;
}

static __always_inline __u64 current_tick(void)
{
	return bpf_ktime_get_coarse_ns() >> TICK_SHIFT;
}

static __always_inline void set_ipv4(struct address *to, __u32 ip)
{
	to->high = 0;
	to->low = (__u64)ip << 32 | MAPPED_WORD;
}

/* 0 is any address, also here. */
static __always_inline void set_bound_ipv4(struct address *to, __u32 ip)
{
	to->high = 0;
	to->low = ip ? (__u64)ip << 32 | MAPPED_WORD : 0;
}

static __always_inline void set_words(struct address *to, __u32 a, __u32 b, __u32 c, __u32 d)
{
	to->high = (__u64)b << 32 | a;
	to->low = (__u64)d << 32 | c;
}

static __always_inline bool is_mapped(const struct address *address)
{
	return !address->high && (__u32)address->low == MAPPED_WORD;
}

static __always_inline bool is_same(const struct address *a, const struct address *b)
{
	return a->high == b->high && a->low == b->low;
}
