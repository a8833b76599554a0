/*
 * Forwards UDP packets of sessions that need no decision, in the place of the datapath: at XDP, natively, or
 * at tc ingress (clsact or tcx), one program of either kind per interface. What is forwarded is:
 *
 *   - IPv4 or IPv6 in Ethernet without a VLAN, UDP right behind the fixed IP header, whole
 *   - with ends (addresses and ports) of a hot session (hot-entries.h), from the side that these are of
 *   - right by the checks of reason.h, of which each has a name; any other packet goes on as it came
 *
 * It gets the next hop's Ethernet header, the ends of the session's other side, and one less TTL. All else
 * stays: identification, DF, traffic class, flow label, payload, what stands behind the datagram. The IPv4
 * header's checksum, which was right, is right again. A UDP checksum is changed by what changed, so a wrong
 * one stays wrong; 0 over IPv4 (not used) stays 0, and a sum of 0 is written as 0xffff.
 *
 * tc also forwards what XDP may not see: super packets (GRO, UDP_SEGMENT) whole, each of their segments
 * within the MTU, and checksums that the sender left to the card, which stay unfinished. XDP takes a checksum
 * for such that is the folded sum of the pseudo-header, which of finished ones is one in 65,536.
 *
 * Nothing is changed in a packet that is not forwarded. Forwarded ones count in their row of `hot`, others in
 * `passed`, where forwarded ones count, too, that have no room in their row.
 */
#include "checks.h"
#include "frame.h"
#include "rewrite.h"

#define FRAGMENT_BITS 0x3fff
#define IPV4_FIRST_BYTE 0x45
#define HEADERS4_LEN (ETH_HLEN + sizeof(struct iphdr) + sizeof(struct udphdr))
#define HEADERS6_LEN (ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(struct udphdr))
/* One less hop limit, as a difference of the word that has it in its second byte in memory. */
#define ONE_HOP_LESS (__u16)~0x0100

static __always_inline enum reason forward4(struct frame *frame)
{
	struct iphdr *ip = frame->data + ETH_HLEN;
	struct udphdr *udp = (void *)(ip + 1);
	__u32 *words = (void *)ip;
	__u64 *addresses = (void *)&ip->saddr;
	__u64 old_addresses, new_addresses, old_sum, new_sum;
	__u32 old_ports, life;
	struct leaving leaving;
	enum reason reason;

	if ((void *)(udp + 1) > frame->end)
		return TRUNCATED;
	if (ip->protocol != IPPROTO_UDP)
		return NOT_UDP;
	if (ip->frag_off & bpf_htons(FRAGMENT_BITS))
		return FRAGMENT;
	if (*(__u8 *)ip != IPV4_FIRST_BYTE)
		return ip->version == 4 && ip->ihl > 5 ? OPTIONS : TRUNCATED;
	old_addresses = *addresses;
	old_ports = ports_of(udp);
	if (!follow(find_entry4(old_addresses, old_ports), &frame->found))
		return NOT_HOT;

	frame->udp = udp;
	frame->header_len = sizeof(*ip);
	frame->ip_len = bpf_ntohs(ip->tot_len);
	frame->ttl = ip->ttl;
	old_sum = (old_addresses & 0xffffffff) + (old_addresses >> 32);
	if (fold(old_sum + words[0] + (__u64)words[1] + words[2]) != 0xffff)
		return BAD_CHECKSUM;
	if (is_unfinished(frame, old_sum))
		return UNFINISHED;
	reason = check_session(frame);
	if (reason != FORWARDED)
		return reason;
	new_addresses = OF(frame->found.hot->addresses, frame->found.direction ^ 1);
	new_addresses = new_addresses >> 32 | new_addresses << 32;
	if (!read_leaving(frame, &leaving))
		return ENDED;

	rewrite(frame, &leaving);
	new_sum = (new_addresses & 0xffffffff) + (new_addresses >> 32);
	/* TTL, protocol, and the checksum as 0. */
	life = (words[2] & 0xffff) - 1;
	words[2] = life | (__u32)(__u16)~fold(new_sum + words[0] + (__u64)words[1] + life) << 16;
	*addresses = new_addresses;
	finish_checksum(frame, &leaving, difference(fold(old_sum), fold(new_sum)), old_ports, 0);
	return FORWARDED;
}

static __always_inline enum reason forward6(struct frame *frame)
{
	struct ipv6hdr *ip = frame->data + ETH_HLEN;
	struct udphdr *udp = (void *)(ip + 1);
	__u64 *addresses = (void *)&ip->saddr;
	__u64 new_addresses[4];
	struct leaving leaving;
	__u32 old_ports, change;
	struct hot6 *rows;
	enum reason reason;
	const __u64 *turned;
	__u64 session;
	__u16 old_sum;

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
	old_ports = ports_of(udp);
	if (!follow(find_entry6(addresses[0], addresses[1], addresses[2], addresses[3], old_ports), &frame->found))
		return NOT_HOT;

	frame->udp = udp;
	frame->header_len = sizeof(*ip);
	frame->ip_len = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	frame->ttl = ip->hop_limit;
	if (!udp->check)
		return BAD_CHECKSUM;
	old_sum = fold(sum_words(addresses, 4));
	if (is_unfinished(frame, old_sum))
		return UNFINISHED;
	reason = check_session(frame);
	if (reason != FORWARDED)
		return reason;
	session = frame->found.session;
	rows = bpf_map_lookup_elem(&hot6, &session);
	if (!rows)
		return NOT_HOT;
	turned = OF(rows->addresses, frame->found.direction ^ 1);
	new_addresses[0] = turned[2];
	new_addresses[1] = turned[3];
	new_addresses[2] = turned[0];
	new_addresses[3] = turned[1];
	if (!read_leaving(frame, &leaving))
		return ENDED;

	rewrite(frame, &leaving);
	ip->hop_limit--;
	for (int i = 0; i < 4; i++)
		addresses[i] = new_addresses[i];
	change = difference(old_sum, fold(sum_words(new_addresses, 4)));
	/* There is no header checksum to make up for addresses and hop limit. */
	finish_checksum(frame, &leaving, change, old_ports, change + ONE_HOP_LESS);
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
