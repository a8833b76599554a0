/* What must be right about a packet that is forwarded; each check has its name in reason.h. */
#pragma once
#include "frame.h"

#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_STACKED_VLAN 0x88a8

static __always_inline bool is_past(__u32 tick, __u32 now)
{
	return (__s32)(now - tick) >= 0;
}

static __always_inline enum reason check_ethernet(const struct frame *frame, __be16 *type)
{
	const struct ethhdr *eth = frame->data;

	if (frame->data + ETH_HLEN > frame->end)
		return TRUNCATED;
	*type = eth->h_proto;
	if (frame->skb && frame->skb->vlan_present)
		return VLAN;
	if (*type == bpf_htons(ETHERTYPE_VLAN) || *type == bpf_htons(ETHERTYPE_STACKED_VLAN))
		return VLAN;
	return FORWARDED;
}

/*
 * Whether a frame has `len` bytes, below 2^LEN_BITS. Without CAP_PERFMON the verifier takes neither the
 * distance of two pointers nor a number that is added to one, so it is put together of constants. It follows
 * each way through this, 4,096, hence a function that it looks at once and by itself (no static).
 */
#define LEN_BITS 12
__noinline int has_bytes(struct xdp_md *ctx, __u32 len)
{
	void *at = (void *)(long)ctx->data;

	if (len >> LEN_BITS)
		return 0;
#pragma clang loop unroll(full)
	for (int bit = 0; bit < LEN_BITS; bit++)
		if (len & 1 << bit)
			ADD_CONSTANT(at, 1 << bit);
	return at <= (void *)(long)ctx->data_end;
}

/* Lengths of a packet of a hot session. */
static __always_inline bool is_as_long_as_it_says(const struct frame *frame)
{
	__u32 datagram_len = bpf_ntohs(frame->udp->len);

	if (datagram_len < sizeof(struct udphdr) || frame->header_len + datagram_len != frame->ip_len)
		return false;
	if (frame->skb)
		return ETH_HLEN + frame->ip_len <= frame->skb->len;
	return has_bytes(frame->xdp, ETH_HLEN + frame->ip_len);
}

/* The longest packet that it leaves as: itself, or a segment. */
static __always_inline __u32 longest(const struct frame *frame)
{
	if (frame->skb && frame->skb->gso_size) {
		__u32 len = frame->header_len + sizeof(struct udphdr) + frame->skb->gso_size;

		return len < frame->ip_len ? len : frame->ip_len;
	}
	return frame->ip_len;
}

static __always_inline enum reason check_hop(struct frame *frame)
{
	__u64 index = OF(frame->found.hot->hops, frame->found.direction), way_at;
	struct hop *hop = bpf_map_lookup_elem(&hops, &index);

	if (!hop)
		return NO_HOP;
	/* Not a choice of two pointers, which the verifier does not take. */
	way_at = (hop->current & 1) * sizeof(struct way);
	asm volatile("" : "+r"(way_at));
	frame->way = (void *)hop->ways + way_at;
	frame->to_ifindex = frame->way->ifindex;
	frame->goes_back = frame->to_ifindex == frame->port->ifindex;
	if (!frame->to_ifindex)
		return NO_HOP;
	if (longest(frame) > frame->way->mtu)
		return TOO_LONG;
	/* It must be known before anything is changed. XDP_TX needs no entry of `ports`. */
	if (frame->xdp && !frame->goes_back &&
	    bpf_redirect_map(&ports, frame->to_ifindex, XDP_PASS) != XDP_REDIRECT)
		return NO_HOP;
	if (!frame->is_unseen && frame->now - hop->confirm_at < CONFIRM_TICKS) {
		/* Processors may do so at the same time: then some packets go that way. */
		hop->confirm_at = frame->now + NOT_ASKED;
		return CONFIRM;
	}
	return FORWARDED;
}

/* Whether a packet of a hot session may be forwarded: all that is no matter of its family. */
static __always_inline enum reason check_session(struct frame *frame)
{
	const __u32 *head = frame->data;
	const __u16 *tail = frame->data + sizeof(*head);
	const struct hot *hot = frame->found.hot;
	bool is_from_client = frame->found.is_inbound;
	__s32 silence;

	if (!(frame->port->faces & (is_from_client ? FACES_CLIENTS : FACES_REAL_SERVERS)))
		return WRONG_SIDE;
	if (*head != frame->port->mac_head || *tail != frame->port->mac_tail)
		return NOT_OURS;
	if (!(frame->found.generation & 1))
		return ENDED;
	if (frame->ttl <= 1)
		return TTL;
	if (!is_as_long_as_it_says(frame))
		return BAD_LENGTH;
	if (!is_from_client && frame->udp->len == bpf_htons(sizeof(struct udphdr)))
		return EMPTY;
	/* Who made the row may be a tick ahead. */
	silence = frame->now - hot->seen[INBOUND];
	if (is_from_client && hot->idle && silence > 0 && (__u32)silence >> IDLE_SHIFT >= hot->idle)
		return IDLE;
	return check_hop(frame);
}

/* A checksum that XDP must take for unfinished. */
static __always_inline bool is_unfinished(const struct frame *frame, __u64 addresses_sum)
{
	const struct udphdr *udp = frame->udp;

	return frame->xdp && udp->check == fold(addresses_sum + udp->len + bpf_htons(IPPROTO_UDP));
}
