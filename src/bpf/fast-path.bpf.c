/*
 * Forwards UDP packets of sessions that need no decision, in the place of the datapath: at XDP, natively, or
 * at tc ingress (clsact or tcx), one program of either kind per interface. What is forwarded is:
 *
 *   - IPv4 or IPv6 in Ethernet without a VLAN, UDP right behind the fixed IP header, whole
 *   - with ends (addresses and ports) that are in `hot4` or `hot6`, from the side that the entry is for
 *   - right by the checks of reason.h, of which each has a name; any other packet goes on as it came
 *
 * It gets the Ethernet header, addresses and ports of the entry and one less TTL. All else stays:
 * identification, DF, traffic class, flow label, payload, what stands behind the datagram. The IPv4 header's
 * checksum, which was right, is right again. A UDP checksum is changed by what changed, so a wrong one stays
 * wrong; 0 over IPv4 (not used) stays 0, and a sum of 0 is written as 0xffff.
 *
 * tc also forwards what XDP may not see: super packets (GRO, UDP_SEGMENT) whole, each of their segments
 * within the MTU, and checksums that the sender left to the card, which stay unfinished. XDP takes a checksum
 * for such that is the folded sum of the pseudo-header, which of finished ones is one in 65,536.
 *
 * Nothing is changed in a packet that is not forwarded. Forwarded ones count in `activity`, others in
 * `passed`, where forwarded ones count, too, that have no room in a row of `activity`.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "checksum.h"
#include "hot.h"
#include "reason.h"

#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_STACKED_VLAN 0x88a8
#define FRAGMENT_BITS 0x3fff
#define IPV4_FIRST_BYTE 0x45
#define HEADERS4_LEN (ETH_HLEN + sizeof(struct iphdr) + sizeof(struct udphdr))
#define HEADERS6_LEN (ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(struct udphdr))
/* One less hop limit, as a difference of the word that has it in its second byte in memory. */
#define ONE_HOP_LESS (__u16)~0x0100

/* Fixed for the life of a program. */
const volatile struct {
	__u32 port_row; /* which row of `control` is the interface's */
	__u32 is_steered; /* tc: rings get packets of the interface, see hot-entries.h */
} settings;

/* A packet under way. Of `skb` and `xdp` one is there, known when this is compiled. */
struct frame {
	struct __sk_buff *skb;
	struct xdp_md *xdp;
	void *data;
	void *end;
	const struct port *port;
	__u32 now; /* tick */
	__u32 is_unseen; /* at tc: by the rings, so that there is nobody to take what is passed */
	/* What is found out about it. */
	__u32 header_len;
	__u32 ip_len;
	__u32 ttl;
	struct udphdr *udp;
	struct activity *row;
	struct way *way;
	/*
	 * Where it goes to, as numbers. Up to Linux 6.15 the verifier also follows ways that a processor only
	 * guesses, and refuses pointers there that are none.
	 */
	__u32 to_ifindex;
	__u32 goes_back;
};

static __always_inline bool is_past(__u32 tick, __u32 now)
{
	return (__s32)(now - tick) >= 0;
}

static __always_inline __u32 ports_of(const struct udphdr *udp)
{
	return *(const __u32 *)udp;
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

/* To a pointer, in a branch: the compiler would make a number of both branches and add that. */
#define ADD_CONSTANT(pointer, constant) asm volatile("%0 += %1" : "+r"(pointer) : "i"(constant))

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

static __always_inline enum reason check_hop(struct frame *frame, const struct hot *to)
{
	__u64 index = to->hop, way_at;
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
static __always_inline enum reason check_session(struct frame *frame, const struct hot *to)
{
	const __u32 *head = frame->data;
	const __u16 *tail = frame->data + sizeof(*head);
	bool is_from_client = !(to->row & 1);
	__s32 silence;

	if (!(frame->port->faces & (is_from_client ? FACES_CLIENTS : FACES_REAL_SERVERS)))
		return WRONG_SIDE;
	if (*head != frame->port->mac_head || *tail != frame->port->mac_tail)
		return NOT_OURS;
	frame->row = bpf_map_lookup_elem(&activity, &to->row);
	if (!frame->row || frame->row->generation != to->generation)
		return ENDED;
	if (frame->ttl <= 1)
		return TTL;
	if (!is_as_long_as_it_says(frame))
		return BAD_LENGTH;
	if (!is_from_client && frame->udp->len == bpf_htons(sizeof(struct udphdr)))
		return EMPTY;
	/* Who made the row may be a tick ahead. */
	silence = frame->now - frame->row->seen;
	if (is_from_client && to->idle && silence > 0 && (__u32)silence >> IDLE_SHIFT >= to->idle)
		return IDLE;
	return check_hop(frame, to);
}

/* A checksum that XDP must take for unfinished. */
static __always_inline bool is_unfinished(const struct frame *frame, __u64 addresses_sum)
{
	const struct udphdr *udp = frame->udp;

	return frame->xdp && udp->check == fold(addresses_sum + udp->len + bpf_htons(IPPROTO_UDP));
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

/* What is the same for both families behind the checks: Ethernet, ports, counts. */
static __always_inline void rewrite(const struct frame *frame, const struct hot *to)
{
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
	if (is_full(frame->row->counts))
		count(FORWARDED, packets);
	else
		__sync_fetch_and_add(&frame->row->counts, packets << PACKETS_SHIFT | bytes);
	frame->row->seen = frame->now;
	macs[0] = frame->way->macs[0];
	macs[1] = frame->way->macs[1];
	macs[2] = frame->way->macs[2];
	*(__u32 *)frame->udp = to->ports;
}

/* Of XDP, where it is finished, or 0. */
static __always_inline void adjust_checksum(struct udphdr *udp, const struct hot *to)
{
	__u16 check;

	if (!udp->check)
		return;
	check = ~fold((__u32)(__u16)~udp->check + to->difference);
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

static __always_inline enum reason forward4(struct frame *frame)
{
	struct iphdr *ip = frame->data + ETH_HLEN;
	struct udphdr *udp = (void *)(ip + 1);
	__u32 *words = (void *)ip;
	__u64 *addresses = (void *)&ip->saddr;
	__u64 old_sum, new_sum;
	__u32 old_ports, life;
	const struct hot4 *hot;
	enum reason reason;
	struct key4 key;

	if ((void *)(udp + 1) > frame->end)
		return TRUNCATED;
	if (ip->protocol != IPPROTO_UDP)
		return NOT_UDP;
	if (ip->frag_off & bpf_htons(FRAGMENT_BITS))
		return FRAGMENT;
	if (*(__u8 *)ip != IPV4_FIRST_BYTE)
		return ip->version == 4 && ip->ihl > 5 ? OPTIONS : TRUNCATED;
	key.addresses = *addresses;
	key.ports = ports_of(udp);
	hot = bpf_map_lookup_elem(&hot4, &key);
	if (!hot)
		return NOT_HOT;

	frame->udp = udp;
	frame->header_len = sizeof(*ip);
	frame->ip_len = bpf_ntohs(ip->tot_len);
	frame->ttl = ip->ttl;
	old_sum = sum_words(&key.addresses, 1);
	if (fold(old_sum + words[0] + (__u64)words[1] + words[2]) != 0xffff)
		return BAD_CHECKSUM;
	if (is_unfinished(frame, old_sum))
		return UNFINISHED;
	reason = check_session(frame, &hot->to);
	if (reason != FORWARDED)
		return reason;

	old_ports = ports_of(udp);
	rewrite(frame, &hot->to);
	new_sum = sum_words(&hot->addresses, 1);
	/* TTL, protocol, and the checksum as 0. */
	life = (words[2] & 0xffff) - 1;
	words[2] = life | (__u32)(__u16)~fold(new_sum + words[0] + (__u64)words[1] + life) << 16;
	*addresses = hot->addresses;
	if (frame->xdp) {
		adjust_checksum(udp, &hot->to);
	} else {
		__u32 port_difference = difference(fold(old_ports), fold(hot->to.ports));

		if (udp->check) {
			__u32 address_difference = difference(fold(old_sum), fold(new_sum));

			replace_checksum(frame->skb, ETH_HLEN + sizeof(*ip) + offsetof(struct udphdr, check),
					 address_difference, port_difference, 0);
		} else {
			bpf_csum_update(frame->skb, port_difference);
		}
	}
	return FORWARDED;
}

static __always_inline enum reason forward6(struct frame *frame)
{
	struct ipv6hdr *ip = frame->data + ETH_HLEN;
	struct udphdr *udp = (void *)(ip + 1);
	__u64 *addresses = (void *)&ip->saddr;
	__u32 old_ports;
	__u16 old_sum;
	const struct hot6 *hot;
	enum reason reason;
	struct key6 key;

	if ((void *)(udp + 1) > frame->end)
		return TRUNCATED;
	switch (ip->nexthdr) {
	case IPPROTO_UDP:
		break;
	case IPPROTO_FRAGMENT:
		return FRAGMENT;
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
		return EXTENSION;
	default:
		return NOT_UDP;
	}
	if (ip->version != 6)
		return TRUNCATED;
	key.addresses[0] = addresses[0];
	key.addresses[1] = addresses[1];
	key.addresses[2] = addresses[2];
	key.addresses[3] = addresses[3];
	key.ports = ports_of(udp);
	hot = bpf_map_lookup_elem(&hot6, &key);
	if (!hot)
		return NOT_HOT;

	frame->udp = udp;
	frame->header_len = sizeof(*ip);
	frame->ip_len = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	frame->ttl = ip->hop_limit;
	if (!udp->check)
		return BAD_CHECKSUM;
	old_sum = fold(sum_words(key.addresses, 4));
	if (is_unfinished(frame, old_sum))
		return UNFINISHED;
	reason = check_session(frame, &hot->to);
	if (reason != FORWARDED)
		return reason;

	old_ports = ports_of(udp);
	rewrite(frame, &hot->to);
	ip->hop_limit--;
	addresses[0] = hot->addresses[0];
	addresses[1] = hot->addresses[1];
	addresses[2] = hot->addresses[2];
	addresses[3] = hot->addresses[3];
	if (frame->xdp) {
		adjust_checksum(udp, &hot->to);
	} else {
		__u32 address_difference = difference(old_sum, fold(sum_words(hot->addresses, 4)));

		/* There is no header checksum to make up for addresses and hop limit. */
		replace_checksum(frame->skb, ETH_HLEN + sizeof(*ip) + offsetof(struct udphdr, check),
				 address_difference, difference(fold(old_ports), fold(hot->to.ports)),
				 address_difference + ONE_HOP_LESS);
	}
	return FORWARDED;
}

/* Forwards the packet, or says why not. */
static __always_inline enum reason forward(struct frame *frame)
{
	__u64 index = settings.port_row;
	enum reason reason;
	__be16 type;

	frame->now = bpf_ktime_get_coarse_ns() >> TICK_SHIFT;
	frame->port = bpf_map_lookup_elem(&control, &index);
	if (!frame->port || !frame->port->alive_until)
		return OFF;
	if (is_past(frame->port->alive_until, frame->now))
		return DEAD;
	reason = check_ethernet(frame, &type);
	if (reason != FORWARDED)
		return reason;
	if (type == bpf_htons(ETH_P_IP))
		return forward4(frame);
	if (type == bpf_htons(ETH_P_IPV6))
		return forward6(frame);
	return NOT_IP;
}

SEC("xdp") int fast_path_xdp(struct xdp_md *ctx)
{
	struct frame frame = {
		.xdp = ctx,
		.data = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
	};
	enum reason reason = forward(&frame);

	if (reason == FORWARDED)
		return frame.goes_back ? XDP_TX : XDP_REDIRECT;
	count(reason, 1);
	return XDP_PASS;
}

static __always_inline bool has_headers(const struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		ADD_CONSTANT(data, HEADERS6_LEN);
	else
		ADD_CONSTANT(data, HEADERS4_LEN);
	return data <= end;
}

/* Takes the steering program's word about the packet; 0: it did not see it. */
static __always_inline __u32 take_word(void)
{
	__u64 index = settings.port_row, word;
	struct offer *offer = bpf_map_lookup_elem(&offered, &index);

	if (!offer)
		return 0;
	word = offer->word;
	offer->word = 0;
	if (bpf_jiffies64() - (word >> WORD_SHIFT) > WORD_LASTS)
		return 0;
	return word & OFFERED;
}

SEC("tc") int fast_path_tc(struct __sk_buff *skb)
{
	struct frame frame = { .skb = skb };
	__u32 word = settings.is_steered ? take_word() : 0;
	enum reason reason;

	if (word == SEEN) {
		/* What it gave back counted when it did. */
		if (skb->mark != SLOW)
			count(NOT_HOT, 1);
		return TC_ACT_UNSPEC;
	}
	/* The driver may have put less than the headers where they can be read. */
	if (!has_headers(skb))
		bpf_skb_pull_data(skb, skb->len < HEADERS6_LEN ? skb->len : HEADERS6_LEN);
	frame.data = (void *)(long)skb->data;
	frame.end = (void *)(long)skb->data_end;
	frame.is_unseen = settings.is_steered && word != OFFERED;
	reason = forward(&frame);
	if (reason == FORWARDED)
		return bpf_redirect(frame.to_ifindex, 0);
	count(reason, 1);
	if (word == OFFERED) {
		skb->mark = SLOW;
		return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
	}
	return TC_ACT_UNSPEC; /* on to others' programs behind */
}

/* The project's license is MIT; helpers for GPL-compatible programs are asked for. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";
