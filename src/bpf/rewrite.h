/* What is written into a packet that is forwarded, and counted of it, whatever its family is. */
#pragma once
#include "frame.h"

/* What of a session is written, read before anything is. */
struct leaving {
	__be32 ports;
	__u16 difference;
};

/*
 * False: the session ended meanwhile, and `leaving`, or its addresses, which were read before, may be
 * another's.
 */
static __always_inline bool read_leaving(const struct frame *frame, struct leaving *leaving)
{
	const struct hot *hot = frame->found.hot;
	__u64 direction = frame->found.direction;
	__u32 turned = OF(hot->ports, direction ^ 1);

	leaving->ports = turned >> 16 | turned << 16;
	leaving->difference = hot->difference ^ (__u16)-direction; /* or its complement */
	/* Read before it is asked. */
	asm volatile("" ::: "memory");
	return generation_of(hot) == frame->found.generation;
}

/* Packets left to the slow path, by reason; for FORWARDED those that no row counts. */
static __always_inline void count(enum reason reason, __u64 packets)
{
	__u64 index = reason;
	__u64 *counter = bpf_map_lookup_elem(&passed, &index);

	if (counter)
		*counter += packets;
}

/* Of what nobody took out for long; what each processor may still add to it fits. */
static __always_inline bool is_full(__u64 counts)
{
	return counts >> (64 - FULL_BITS) == ALL_FULL ||
	       (counts >> (PACKETS_SHIFT - FULL_BITS) & ALL_FULL) == ALL_FULL;
}

/* Ethernet, ports, counts. */
static __always_inline void rewrite(const struct frame *frame, const struct leaving *leaving)
{
	struct hot *hot = frame->found.hot;
	__u64 direction = frame->found.direction;
	__u32 *macs = frame->data;
	__u64 packets = 1, bytes = frame->ip_len;

	if (frame->skb && frame->skb->gso_size) {
		__u32 headers_len = frame->header_len + sizeof(struct udphdr);

		packets = (frame->ip_len - headers_len + frame->skb->gso_size - 1) / frame->skb->gso_size;
		if (packets > 1)
			bytes += (packets - 1) * headers_len;
		else
			packets = 1;
	}
	if (is_full(OF(hot->counts, direction)))
		count(FORWARDED, packets);
	else
		__sync_fetch_and_add(&OF(hot->counts, direction), packets << PACKETS_SHIFT | bytes);
	OF(hot->seen, direction) = frame->now;
	macs[0] = frame->way->macs[0];
	macs[1] = frame->way->macs[1];
	macs[2] = frame->way->macs[2];
	*(__u32 *)frame->udp = leaving->ports;
}

/* Of XDP, where it is finished, or 0. */
static __always_inline void adjust_checksum(struct udphdr *udp, __u16 change)
{
	__u16 check;

	if (!udp->check)
		return;
	check = ~fold((__u32)(__u16)~udp->check + change);
	udp->check = check ? check : 0xffff;
}

/*
 * Of tc, where the kernel knows what state it is in: finished by the sender, left to the card, or known as
 * the sum of the whole packet, which must stay right. `uncounted` is what changes in that sum and is not
 * counted by the two calls. These cannot fail: headers were written already, so they are there and can be.
 */
static __always_inline void replace_checksum(struct __sk_buff *skb, __u32 off, __u32 addresses, __u32 ports,
					     __u32 uncounted)
{
	bpf_l4_csum_replace(skb, off, 0, addresses, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0);
	bpf_l4_csum_replace(skb, off, 0, ports, BPF_F_MARK_MANGLED_0);
	bpf_csum_update(skb, uncounted);
}

/* By the sums of addresses before and now, and the ports before; `uncounted` as above. */
static __always_inline void finish_checksum(const struct frame *frame, const struct leaving *leaving,
					    __u32 addresses, __u32 old_ports, __u32 uncounted)
{
	__u32 ports = difference(fold(old_ports), fold(leaving->ports));

	if (frame->xdp)
		adjust_checksum(frame->udp, leaving->difference);
	else if (frame->udp->check)
		replace_checksum(frame->skb,
				 ETH_HLEN + frame->header_len + offsetof(struct udphdr, check), addresses,
				 ports, uncounted);
	else
		bpf_csum_update(frame->skb, ports);
}
