/*
 * Who gets a packet: asked by the packet fanout group of an interface (packet(7), PACKET_FANOUT_EBPF) for the
 * number of a member, in the order in which they joined:
 *
 *   0                the sink, which lets nothing in: whatever is not the proxy's
 *   1 ...            each worker's ring for anybody's packets
 *   workers + 1 ...  each worker's ring for known sources
 *
 * The proxy's are packets that the kernel itself takes (type HOST: whatever Ethernet address that is, and
 * neither other hosts' nor what this host sends), without the number of a VLAN, IPv4 or IPv6 by their
 * ethertype, and
 *
 *   - UDP to VIP:vport or to one of LIP:lports
 *   - to any VIP or LIP what has no ports at hand: fragments of UDP, protocol 248, ICMP errors (unreachable,
 *     time exceeded, parameter problem, packet too big), and IPv6 that begins with an extension header.
 *
 * The worker is the one that Owners.ownerOf (src/steer/steering.ts) names: of a packet to a LIP its lport
 * modulo workers, of a packet to a VIP a keyed hash of the client. An ICMP error goes by the packet that it
 * embeds, which this host sent. All fragments of a datagram meet in one worker. What cannot be told goes to
 * worker 0, which finds the owner.
 *
 * A source is known when a worker noted it (src/steer/known-sources.ts); only whole UDP packets without
 * extension headers or protocol 248 are looked up. A bucket whose sources send more than MOST_PER_PERIOD
 * packets in a period, or did in the one before, is anybody's until they send less. Processors may count at
 * the same time and lose some.
 *
 * Where a fast path is at tc (hot-entries.h), packets of hot sessions go to the sink, too. Another program of
 * the interface may end the chain before ours, so that tc never sees them: then they go to the rings, as soon
 * as too many were missed.
 *
 * What is not the proxy's costs one look-up in the plan at most, and only UDP to another port of a VIP a
 * second one; the number of services and addresses costs nothing. A new plan takes the place of the one
 * before in one step: the map in `plans` is replaced.
 */
#include "known-sources.h"
#include "offers.h"
#include "owners.h"
#include "packet.h"

#define SINK 0

/* UDP to an address of the proxy: VIP:vport, LIP:lport, or a port that is not the proxy's. */
static __noinline __u32 steer_udp(struct __sk_buff *skb, void *plan, struct ends *ends,
				       const struct address *local, __u32 at)
{
	struct ports ports;
	bool is_to_lip = false;
	__u32 ring;

	/* Port 0 is nobody's, and would be the address itself in the plan. */
	if (!READ(skb, at, &ports) || !ports.dest)
		return SINK;
	ends->client.port = ports.source;
	ends->local.port = ports.dest;
	if (!local->is_vip || !bpf_map_lookup_elem(plan, &ends->local)) {
		if (!is_lport(local, ports.dest))
			return SINK;
		is_to_lip = true;
	}
	/* Without one the verifier takes this out. */
	if (settings.has_fast_path && offer(skb, ends))
		return SINK;
	ring = ring_of(ends, is_to_lip);
	return is_known(&ends->client) ? ring + settings.workers : ring;
}

/* What stands at `to`, in front of UDP or a protocol-248 header. */
static __noinline __u32 steer_behind(struct __sk_buff *skb, struct ends *ends,
					  const struct address *local, struct position *to)
{
	struct ports ports;

	if (!reach_udp(skb, to) || !READ(skb, to->at, &ports))
		return 1;
	ends->client.port = ports.source;
	ends->local.port = ports.dest;
	return ring_of_any(ends, local);
}

/* The same in a packet that an ICMP error embeds. */
static __noinline __u32 steer_embedded(struct __sk_buff *skb, void *plan, struct ends *ends,
					    struct position *to)
{
	const struct address *local;
	struct ports ports;

	if (!reach_udp(skb, to) || !READ(skb, to->at, &ports))
		return 1;
	ends->local.port = ports.source;
	ends->client.port = ports.dest;
	local = find_address(plan, &ends->local);
	return local ? ring_of_any(ends, local) : 1;
}

static __always_inline bool is_icmp_error(__u8 type)
{
	return type == 3 || type == 11 || type == 12;
}

static __noinline __u32 steer_icmp(struct __sk_buff *skb, void *plan, struct ends *ends, __u32 at)
{
	struct position to = {};
	struct iphdr ip;
	__u8 type;

	if (!READ(skb, at, &type) || !is_icmp_error(type))
		return SINK;
	at += ICMP_HEADER_LEN;
	if (!READ(skb, at, &ip) || ip.frag_off & bpf_htons(IPV4_FRAGMENT_OFFSET))
		return 1;
	set_ipv4(&ends->local, ip.saddr);
	set_ipv4(&ends->client, ip.daddr);
	to.protocol = ip.protocol;
	to.at = at + ip.ihl * 4;
	return steer_embedded(skb, plan, ends, &to);
}

static __noinline __u32 steer_icmpv6(struct __sk_buff *skb, void *plan, struct ends *ends, __u32 at)
{
	struct position to = {};
	struct ipv6hdr ip;

	at += ICMP_HEADER_LEN;
	if (!READ(skb, at, &ip))
		return 1;
	set_ipv6(&ends->local, ip.saddr.in6_u.u6_addr32);
	set_ipv6(&ends->client, ip.daddr.in6_u.u6_addr32);
	to.protocol = ip.nexthdr;
	to.at = at + sizeof(ip);
	if (!follow_extensions(skb, &to, IPV6_FRAGMENT_OFFSET) || to.is_piece)
		return 1;
	return steer_embedded(skb, plan, ends, &to);
}

static __noinline __u32 steer_ipv4(struct __sk_buff *skb, void *plan)
{
	const struct address *local;
	struct position to = {};
	struct ends ends = {};
	struct iphdr ip;
	__u8 type;

	if (!READ(skb, 0, &ip))
		return SINK;
	to.protocol = ip.protocol;
	to.at = ip.ihl * 4;
	if (to.protocol != IPPROTO_UDP && to.protocol != IPPROTO_ICMP && to.protocol != PROTOCOL_OPP)
		return SINK;
	set_ipv4(&ends.client, ip.saddr);
	set_ipv4(&ends.local, ip.daddr);
	local = bpf_map_lookup_elem(plan, &ends.local);
	if (!local)
		return SINK;
	if (ip.frag_off & bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET)) {
		if (to.protocol == IPPROTO_ICMP && (ip.frag_off & bpf_htons(IPV4_FRAGMENT_OFFSET) ||
						    !READ(skb, to.at, &type) || !is_icmp_error(type)))
			return SINK;
		return ring_of_fragment(bpf_ntohs(ip.id), &ends);
	}
	if (to.protocol == IPPROTO_UDP)
		return steer_udp(skb, plan, &ends, local, to.at);
	if (to.protocol == IPPROTO_ICMP)
		return steer_icmp(skb, plan, &ends, to.at);
	return steer_behind(skb, &ends, local, &to);
}

static __noinline __u32 steer_ipv6(struct __sk_buff *skb, void *plan)
{
	const struct address *local;
	struct position to = {};
	struct ends ends = {};
	struct ipv6hdr ip;
	__u8 type;

	if (!READ(skb, 0, &ip))
		return SINK;
	to.protocol = ip.nexthdr;
	to.at = sizeof(ip);
	switch (ip.nexthdr) {
	case IPPROTO_UDP:
	case IPPROTO_ICMPV6:
	case PROTOCOL_OPP:
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_FRAGMENT:
		break;
	default:
		return SINK;
	}
	set_ipv6(&ends.client, ip.saddr.in6_u.u6_addr32);
	set_ipv6(&ends.local, ip.daddr.in6_u.u6_addr32);
	local = bpf_map_lookup_elem(plan, &ends.local);
	if (!local)
		return SINK;
	if (ip.nexthdr == IPPROTO_UDP)
		return steer_udp(skb, plan, &ends, local, to.at);
	if (!follow_extensions(skb, &to, IPV6_MORE_FRAGMENTS | IPV6_FRAGMENT_OFFSET))
		return 1;
	if (to.is_piece)
		return ring_of_fragment(bpf_ntohl(to.id), &ends);
	if (to.protocol != IPPROTO_ICMPV6)
		return steer_behind(skb, &ends, local, &to);
	if (READ(skb, to.at, &type) && type >= 1 && type <= 4)
		return steer_icmpv6(skb, plan, &ends, to.at);
	return ip.nexthdr == IPPROTO_ICMPV6 ? SINK : 1;
}

SEC("socket")
int steering(struct __sk_buff *skb)
{
	__u32 first = 0;
	void *plan;

	/* What this host sends does not come by tc ingress. */
	if (settings.has_fast_path && skb->pkt_type != PACKET_OUTGOING)
		leave_word();
	if (skb->pkt_type != PACKET_HOST || (skb->vlan_present && skb->vlan_tci & VLAN_ID))
		return SINK;
	plan = bpf_map_lookup_elem(&plans, &first);
	if (!plan)
		return SINK;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return steer_ipv4(skb, plan);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return steer_ipv6(skb, plan);
	return SINK;
}

/* No function that this program calls asks for a license; the project's is MIT. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";
