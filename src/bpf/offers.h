/*
 * The steering program's side of what it and the fast path at tc agree on for each packet (hot-entries.h).
 * Another program of the interface may end the chain before ours, so that tc never sees what was left to it:
 * then that goes to the rings, as soon as too many were missed.
 */
#pragma once
#include "hot-lookup.h"
#include "owners.h"

/* More than one packet in MISS_WEIGHT that tc does not see, 16 in a row or more, are too many. */
#define MISS_WEIGHT 64
#define MISSES_MAX (16 * MISS_WEIGHT)

/* Whether packets with these ends are hot, by their entry alone. */
static __noinline bool is_hot(const struct ends *ends)
{
	__u64 ports = (__u64)ends->local.port << 16 | ends->client.port;

	if (is_ipv4(&ends->client))
		return find_entry4(ends->local.address[1] >> 32 << 32 | ends->client.address[1] >> 32, ports);
	return find_entry6(ends->client.address[0], ends->client.address[1], ends->local.address[0],
			   ends->local.address[1], ports);
}

/* Leaves a packet to the fast path at tc, if it is hot and not back from there. */
static __noinline bool offer(struct __sk_buff *skb, const struct ends *ends)
{
	__u64 row = settings.port_row;
	const struct port *port;
	struct offer *offer;

	if (skb->mark == SLOW || !is_hot(ends))
		return false;
	port = bpf_map_lookup_elem(&control, &row);
	if (!port || !port->alive_until || port->is_blocked)
		return false;
	offer = bpf_map_lookup_elem(&offered, &row);
	if (!offer)
		return false;
	if (offer->misses)
		offer->misses--;
	offer->word |= OFFERED;
	return true;
}

/* Of the packet before on this processor, which was left to tc and still is. */
static __noinline void note_missed(struct offer *offer)
{
	__u64 row = settings.port_row;
	struct port *port = bpf_map_lookup_elem(&control, &row);

	if (!port || port->faces & IS_SHARED)
		return;
	__sync_fetch_and_add(&port->missed, 1);
	offer->misses += MISS_WEIGHT + 1;
	if (offer->misses < MISSES_MAX)
		return;
	offer->misses = 0;
	port->is_blocked = 1;
}

/* Says that this packet was seen. */
static __always_inline void leave_word(void)
{
	__u64 row = settings.port_row;
	struct offer *offer = bpf_map_lookup_elem(&offered, &row);

	if (!offer)
		return;
	if ((offer->word & OFFERED) == OFFERED)
		note_missed(offer);
	offer->word = bpf_jiffies64() << WORD_SHIFT | SEEN;
}
