/*
 * Whose a packet is among the workers, by its ends, and what the plan says of an address: Owners.ownerOf of
 * src/steer/steering.ts has the same.
 */
#pragma once
#include "mix.h"
#include "packet.h"

#define ADDRESS_WORDS 4
/* Ranges of lports of one address: the user joins the nearest ones of more. */
#define MAX_RANGES 8
#define HALVES 8

/* See SourceHash: the factors of an address's halves, then that of the port. */
struct source_hash {
	__u32 start;
	__u32 halves[HALVES];
	__u32 port;
};

/* What is fixed for the life of an interface's rings. */
const volatile struct {
	__u32 workers;
	/* The steering key: where to start, a factor for each half of an address, one for the port. */
	__u32 start;
	__u32 halves[HALVES];
	__u32 port;
	__u32 bucket_mask;
	struct source_hash place;
	struct source_hash tag;
	/* Packets of hot sessions are for the fast path at tc, where the interface has this row. */
	__u32 has_fast_path;
	__u32 port_row;
} settings;

/* Key of a plan: a VIP with its vport, or with port 0 any address of the proxy. IPv4 is v4-mapped. */
struct endpoint {
	__u64 address[ADDRESS_WORDS / 2]; /* __be32 each half */
	__u64 port; /* __be16 */
	__u64 version;
};

/* What an address is; of a VIP with its vport it says nothing. */
struct address {
	__u16 is_vip;
	__u16 ranges; /* 0: no LIP */
	struct {
		__u16 first;
		__u16 last;
	} lports[MAX_RANGES];
};

struct plan {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(struct endpoint));
	__uint(value_size, sizeof(struct address));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct plan);
} plans SEC(".maps");

/* A packet as both ends see it, also one that an ICMP error embeds. */
struct ends {
	struct endpoint client;
	struct endpoint local;
};

static __always_inline bool is_ipv4(const struct endpoint *end)
{
	return end->version == 4;
}

static __always_inline void set_ipv4(struct endpoint *end, __be32 address)
{
	end->address[1] = (__u64)address << 32 | bpf_htonl(0xffff);
	end->version = 4;
}

static __always_inline void set_ipv6(struct endpoint *end, const __be32 *address)
{
	for (int i = 0; i < ADDRESS_WORDS / 2; i++)
		end->address[i] = (__u64)address[2 * i + 1] << 32 | address[2 * i];
	end->version = 6;
}

static __always_inline __u32 word_of(const struct endpoint *end, int i)
{
	return bpf_ntohl(end->address[i / 2] >> 32 * (i % 2));
}

/* The address of `end`, with no regard to its port. */
static __noinline const struct address *find_address(void *plan, struct endpoint *end)
{
	__u64 port = end->port;
	const struct address *found;

	end->port = 0;
	found = bpf_map_lookup_elem(plan, end);
	end->port = port;
	return found;
}

static __noinline bool is_lport(const struct address *address, __be16 port)
{
	__u16 number = bpf_ntohs(port);

	UNROLL
	for (int i = 0; i < MAX_RANGES; i++) {
		if (i >= address->ranges)
			return false;
		if (number >= address->lports[i].first && number <= address->lports[i].last)
			return true;
	}
	return false;
}

static __noinline __u32 hash_client(const struct endpoint *client)
{
	__u32 sum = settings.start + settings.port * bpf_ntohs(client->port);

	UNROLL
	for (int i = 0; i < ADDRESS_WORDS; i++) {
		__u32 word = word_of(client, i);

		sum += settings.halves[2 * i] * (word >> 16) + settings.halves[2 * i + 1] * (word & 0xffff);
	}
	return mix(sum) % settings.workers;
}

/* The ring for anybody's packets of the worker that owns a packet with these ends. */
static __always_inline __u32 ring_of(const struct ends *ends, bool is_to_lip)
{
	if (settings.workers == 1)
		return 1;
	return 1 + (is_to_lip ? bpf_ntohs(ends->local.port) % settings.workers : hash_client(&ends->client));
}

/* The same for what is the proxy's whatever its ports are; what is no VIP is a LIP with all ports. */
static __always_inline __u32 ring_of_any(const struct ends *ends, const struct address *local)
{
	return ring_of(ends, !local->is_vip || is_lport(local, ends->local.port));
}

/* By the identification and the addresses: the same for all fragments of a datagram. */
static __noinline __u32 ring_of_fragment(__u32 id, const struct ends *ends)
{
	__u32 sum = settings.start + settings.port * id;

	UNROLL
	for (int i = 0; i < ADDRESS_WORDS; i++) {
		sum += settings.halves[i] * word_of(&ends->client, i);
		sum += settings.halves[ADDRESS_WORDS + i] * word_of(&ends->local, i);
	}
	return 1 + mix(sum) % settings.workers;
}
