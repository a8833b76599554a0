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
#include "hot-entries.h"
#include "packet.h"

#define SINK 0
#define ADDRESS_WORDS 4
/* Ranges of lports of one address: the user joins the nearest ones of more. */
#define MAX_RANGES 8
#define HASH_WORDS 10
#define HALVES 8
#define TAGS 3
#define PERIOD_SHIFT 27 /* of 2^27 ns, 134 ms */
#define MOST_PER_PERIOD 4096
/* The word of a bucket: number of the period, whether there were too many in the one before, count. */
#define COUNT_MASK 0xfffff
#define TOO_MANY_BEFORE 0x100000
#define PERIOD_AT 21
#define PERIODS 0x7ff
/* More than one packet in MISS_WEIGHT that tc does not see, 16 in a row or more, are too many. */
#define MISS_WEIGHT 64
#define MISSES_MAX (16 * MISS_WEIGHT)

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

struct bucket {
	__u32 tags[TAGS];
	__u32 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bucket);
} known SEC(".maps");

/* A packet as both ends see it, also one that an ICMP error embeds. */
struct ends {
	struct endpoint client;
	struct endpoint local;
};

/* MurmurHash3's 32-bit finalizer. */
static __always_inline __u32 mix(__u32 sum)
{
	sum = (sum ^ (sum >> 16)) * 0x85ebca6b;
	sum = (sum ^ (sum >> 13)) * 0xc2b2ae35;
	return sum ^ (sum >> 16);
}

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

/* Counts a packet of a known source; false: there are too many. */
static __always_inline bool is_few(struct bucket *bucket)
{
	__u32 period = (bpf_ktime_get_ns() >> PERIOD_SHIFT) & PERIODS;
	__u32 count = *(volatile __u32 *)&bucket->count;

	if (count >> PERIOD_AT != period)
		count = period << PERIOD_AT | ((count & COUNT_MASK) < MOST_PER_PERIOD ? 0 : TOO_MANY_BEFORE);
	if ((count & COUNT_MASK) >= MOST_PER_PERIOD)
		return false;
	*(volatile __u32 *)&bucket->count = ++count;
	return !(count & TOO_MANY_BEFORE);
}

/* The part of a word of the address, and of which halves' factors. */
static __always_inline __u32 hash_word(const volatile struct source_hash *hash, int half, __u32 word)
{
	return hash->halves[half] * (word >> 16) + hash->halves[half + 1] * (word & 0xffff);
}

static __noinline bool is_known(const struct endpoint *source)
{
	__u32 port = bpf_ntohs(source->port);
	__u32 last = word_of(source, ADDRESS_WORDS - 1);
	__u32 place = settings.place.start + settings.place.port * port;
	__u32 tag = settings.tag.start + settings.tag.port * port;
	struct bucket *bucket;

	/* IPv4's address has the first two factors. */
	if (is_ipv4(source)) {
		place += hash_word(&settings.place, 0, last);
		tag += hash_word(&settings.tag, 0, last);
	} else {
		UNROLL
		for (int i = 0; i < ADDRESS_WORDS; i++) {
			__u32 word = word_of(source, i);

			place += hash_word(&settings.place, 2 * i, word);
			tag += hash_word(&settings.tag, 2 * i, word);
		}
	}
	if (tag == 0)
		tag = 1;
	place = mix(place) & settings.bucket_mask;
	bucket = bpf_map_lookup_elem(&known, &place);
	if (!bucket)
		return false;
	UNROLL
	for (int i = 0; i < TAGS; i++)
		if (bucket->tags[i] == tag)
			return is_few(bucket);
	return false;
}

/* Whether packets with these ends are hot, by their entry alone. */
static __noinline bool is_hot(const struct ends *ends)
{
	__u64 ports = (__u64)ends->local.port << 16 | ends->client.port;

	if (is_ipv4(&ends->client)) {
		struct key4 key = {
			.addresses = ends->local.address[1] >> 32 << 32 | ends->client.address[1] >> 32,
			.ports = ports,
		};

		return bpf_map_lookup_elem(&hot4, &key);
	}
	struct key6 key = {
		.addresses = { ends->client.address[0], ends->client.address[1], ends->local.address[0],
			       ends->local.address[1] },
		.ports = ports,
	};

	return bpf_map_lookup_elem(&hot6, &key);
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

	if (!port)
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
