/*
 * The receiver: programs of a cgroup by which its UDP sockets see who clients are, and answer to them, though
 * packets come from and go to a LIP:lport of the proxy. Nothing is done to packets but that carriers end
 * here.
 *
 *   ingress     learns from a UOA, if its source is trusted: LIP:lport is that client, and answers to the
 *               client go to that LIP:lport; asks for an echo ACK. Keeps carriers (an empty datagram with a
 *               UOA) from programs. A malformed UOA, and one that is not trusted, pass as they came.
 *   recvmsg     the source of a datagram is the client
 *   sendmsg     to a client is to the LIP:lport that its newest datagram came from
 *   connect     likewise; getpeername as recvmsg
 *   getsockopt  2048, 2049 and 2050 of IPPROTO_IP, which programs ask kernel modules for: the client of the
 *               datagram that the socket received last. What the program asked about cannot be known here.
 *
 * What is not known is left as it is. All is by the address that a socket is bound to, if it is, and its
 * port: several servers, on several addresses, may be in one cgroup. Where a socket is bound to any address,
 * answers leave from the one that the client's datagrams came to.
 *
 * A client of another family than the LIP cannot be what a socket sees, because it could not send there:
 * sendmsg may not leave its family. It is told by getsockopt only.
 */
#include <stddef.h>
#include "receiver-uoa.h"

#define PASS 1
#define SWALLOW 0

#define IPPROTO_IP_LEVEL 0
#define OPTION_LOOKUP 2048
#define OPTION_LOOKUP1 2049
#define OPTION_LOOKUP2 2050
#define PAGE_BYTES 4096
#define FAMILY_IPV4 2
#define FAMILY_IPV6 10

/* By the socket's address, or, for one that was bound to any when it was learned, by that. */
#define FIND(map, tuple, type)                                                       \
	({                                                                           \
		type *found = bpf_map_lookup_elem(map, tuple);                       \
		if (!found && ((tuple)->bound.high | (tuple)->bound.low)) {          \
			struct address own = (tuple)->bound;                         \
			(tuple)->bound.high = 0;                                     \
			(tuple)->bound.low = 0;                                      \
			found = bpf_map_lookup_elem(map, tuple);                     \
			if (found && !is_same(&found->rip, &own))                    \
				found = 0;                                           \
		}                                                                    \
		found;                                                               \
	})

/*
 * Answers to the client of `learned` go to `by`, which it is learned under. False: there is no room.
 */
static __noinline bool point(const struct tuple *by, struct learned *learned)
{
	struct tuple client = {
		.peer = learned->client,
		.bound = by->bound,
		.ports = TUPLE_PORTS(learned->cport, by->ports >> 16),
	};
	struct way way = { .rip = learned->rip, .lip = by->peer, .port = (__u16)by->ports };
	struct way *before = bpf_map_lookup_elem(&by_client, &client);

	way.used = current_tick();
	if (before) {
		struct tuple other = {
			.peer = before->lip,
			.bound = by->bound,
			.ports = TUPLE_PORTS(before->lport, by->ports >> 16),
		};
		struct learned *displaced;

		if (other.ports == by->ports && is_same(&other.peer, &by->peer)) {
			before->rip = learned->rip;
			before->used = way.used;
			return true;
		}
		displaced = bpf_map_lookup_elem(&by_lip, &other);
		if (displaced && displaced->cport == learned->cport &&
		    is_same(&displaced->client, &learned->client))
			displaced->flags |= DISPLACED;
	}
	return bpf_map_update_elem(&by_client, &client, &way, BPF_ANY) == 0;
}

/* Nothing for a client goes to a LIP:lport that is another one's now. */
static __noinline void unpoint(const struct tuple *by, const struct learned *before)
{
	struct tuple client = {
		.peer = before->client,
		.bound = by->bound,
		.ports = TUPLE_PORTS(before->cport, by->ports >> 16),
	};
	struct way *way = bpf_map_lookup_elem(&by_client, &client);

	if (way && way->lport == (__u16)by->ports && is_same(&way->lip, &by->peer))
		bpf_map_delete_elem(&by_client, &client);
}

static __always_inline bool is_same_client(const struct learned *a, const struct learned *b)
{
	return a->cport == b->cport && is_same(&a->client, &b->client);
}

/* Programs see the LIP:lport as it is. */
static __noinline void forget(const struct tuple *by, const struct learned *learned)
{
	bpf_map_delete_elem(&by_lip, by);
	unpoint(by, learned);
}

/*
 * Another client that was known by `by` leaves its room. Returns `asks` with one more: what is sent from one
 * LIP:lport is acknowledged ASKS_MAX times in a tick and no more, because an ACK looks as a carrier does, and
 * two receivers that trust each other would answer without end.
 */
static __noinline __u64 follow(const struct tuple *by, const struct learned *learned)
{
	struct learned *before = bpf_map_lookup_elem(&by_lip, by);
	__u64 asks;

	if (!before)
		return learned->used << ASKS_BITS | 1;
	asks = before->asks;
	if (!is_same_client(before, learned))
		unpoint(by, before);
	if (asks >> ASKS_BITS != learned->used)
		return learned->used << ASKS_BITS | 1;
	return (asks & ((1 << ASKS_BITS) - 1)) > ASKS_MAX ? asks : asks + 1;
}

enum outcome { NO_ROOM, ACKNOWLEDGE, TOO_OFTEN };

static __noinline enum outcome learn(const struct tuple *by, const struct uoa *uoa, const struct address *rip)
{
	struct learned *before;
	struct learned learned = {
		.rip = *rip,
		.client = uoa->client,
		.vip = uoa->vip,
		.ports_and_flags = uoa->cport | uoa->vport << 16,
	};
	bool is_crossed = is_mapped(&by->peer) != is_mapped(&uoa->client);

	learned.used = current_tick();
	/* First, for the room. */
	learned.asks = follow(by, &learned);
	if (is_crossed)
		learned.ports_and_flags |= (__u64)CROSSED << 32;
	/* Nor may the former client be seen where there is no room for this one. */
	if (!is_crossed && !point(by, &learned)) {
		forget(by, &learned);
		return NO_ROOM;
	}
	/* Looked up anew: without CAP_PERFMON a pointer is asked only once whether it is one. */
	before = bpf_map_lookup_elem(&by_lip, by);
	if (before && is_same_client(before, &learned) && is_same(&before->vip, &learned.vip) &&
	    before->vport == learned.vport && is_same(&before->rip, &learned.rip)) {
		before->flags = learned.flags;
		before->asks = learned.asks;
		before->used = learned.used;
		count_one(TOLD_AGAIN);
	} else {
		if (bpf_map_update_elem(&by_lip, by, &learned, BPF_ANY)) {
			forget(by, &learned);
			return NO_ROOM;
		}
		count_one(LEARNED);
	}
	return (learned.asks & ((1 << ASKS_BITS) - 1)) > ASKS_MAX ? TOO_OFTEN : ACKNOWLEDGE;
}

static __noinline void ask_for_ack(struct __sk_buff *skb, const struct tuple *by, const struct uoa *uoa,
				   const struct address *rip)
{
	struct told *told = bpf_ringbuf_reserve(&to_acknowledge, sizeof(*told), 0);
	__u32 at = uoa->at, len = uoa->len;

	if (!told) {
		count_one(UNSENT);
		return;
	}
	told->lip = by->peer;
	told->rip = *rip;
	told->lport = (__u16)by->ports;
	told->rport = by->ports >> 16;
	told->option_len = len;
	/* Lengths are constants of the verifier's. */
#define COPY(bytes)                                                                  \
	case bytes:                                                                  \
		if (bpf_skb_load_bytes(skb, at, told->option, bytes))                \
			told->option_len = 0;                                        \
		break
	switch (len) {
		COPY(8);
		COPY(14);
		COPY(16);
		COPY(20);
		COPY(38);
		COPY(40);
	default:
		told->option_len = 0;
	}
	if (told->option_len)
		bpf_ringbuf_submit(told, 0);
	else
		bpf_ringbuf_discard(told, 0);
}

static __noinline bool is_trusted(const struct address *lip)
{
	union prefix prefix = {
		.parts = { lip->high << 32 | 128, lip->low << 32 | lip->high >> 32, lip->low >> 32 },
	};

	return bpf_map_lookup_elem(&trusted, &prefix);
}

static __noinline void note_ignored(const struct address *from)
{
	__u64 *count = bpf_map_lookup_elem(&ignored, from), one = 1;

	count_one(IGNORED);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&ignored, from, &one, BPF_ANY);
}

/* A packet with a UOA, which is well-formed; by->peer and `rip` are its addresses. */
static __noinline int take(struct __sk_buff *skb, struct tuple *by, const struct uoa *uoa,
			   const struct address *rip)
{
	struct udphdr udp;

	if (!READ(skb, uoa->udp_at, &udp) || !udp.source)
		return PASS;
	by->ports = TUPLE_PORTS(udp.source, udp.dest);
	switch (learn(by, uoa, rip)) {
	case ACKNOWLEDGE:
		ask_for_ack(skb, by, uoa, rip);
		break;
	case TOO_OFTEN:
		count_one(NOT_AGAIN);
		break;
	case NO_ROOM:
		count_one(FULL);
	}
	if (udp.len != bpf_htons(sizeof(udp)))
		return PASS;
	count_one(CARRIER);
	return SWALLOW;
}

static __noinline int look_at_options4(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct tuple by = {};
	struct uoa uoa = {};
	struct address rip;
	struct iphdr ip;
	__u32 found;

	if (!sk || !READ(skb, 0, &ip))
		return PASS;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return PASS;
	uoa.udp_at = ip.ihl * 4;
	found = find_option4(skb, sizeof(ip), ip.ihl * 4);
	if (!found)
		return PASS;
	uoa.at = FOUND_AT(found);
	uoa.len = FOUND_LEN(found);
	set_ipv4(&by.peer, ip.saddr);
	set_ipv4(&rip, ip.daddr);
	set_bound_ipv4(&by.bound, sk->src_ip4);
	if (!is_trusted(&by.peer)) {
		note_ignored(&by.peer);
		return PASS;
	}
	if (!read_option4(skb, &uoa, FOUND_TYPE(found)) || uoa.at + uoa.len > uoa.udp_at) {
		count_one(MALFORMED);
		return PASS;
	}
	return take(skb, &by, &uoa, &rip);
}

/* Where UDP begins, behind destination options with a UOA; 0: it is not that. */
static __noinline __u32 find_behind_extensions(struct __sk_buff *skb, struct uoa *uoa, __u32 next)
{
	__u32 at = sizeof(struct ipv6hdr), found = 0;

	UNROLL for (int followed = 0; followed <= MAX_EXTENSIONS; followed++) {
		struct extension header;
		__u32 len;

		if (next == IPPROTO_UDP) {
			uoa->udp_at = at;
			uoa->at = FOUND_AT(found);
			uoa->len = FOUND_LEN(found);
			return FOUND_TYPE(found);
		}
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS)
			return 0;
		if (!READ(skb, at, &header))
			return 0;
		len = ((__u32)header.length + 1) * 8;
		if (next == IPPROTO_DSTOPTS && !found)
			found = find_option6(skb, at + 2, at + len);
		next = header.next;
		at += len;
	}
	return 0;
}

static __noinline int look_at_options6(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct tuple by = {};
	struct uoa uoa = {};
	struct address rip;
	struct ipv6hdr ip;
	__u32 type;

	if (!sk || !READ(skb, 0, &ip))
		return PASS;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return PASS;
	type = find_behind_extensions(skb, &uoa, ip.nexthdr);
	if (!type)
		return PASS;
	set_words(&by.peer, ip.saddr.in6_u.u6_addr32[0], ip.saddr.in6_u.u6_addr32[1],
		  ip.saddr.in6_u.u6_addr32[2], ip.saddr.in6_u.u6_addr32[3]);
	set_words(&rip, ip.daddr.in6_u.u6_addr32[0], ip.daddr.in6_u.u6_addr32[1],
		  ip.daddr.in6_u.u6_addr32[2], ip.daddr.in6_u.u6_addr32[3]);
	set_words(&by.bound, sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3]);
	if (!is_trusted(&by.peer)) {
		note_ignored(&by.peer);
		return PASS;
	}
	if (!read_option6(skb, &uoa, type) || uoa.at + uoa.len > uoa.udp_at) {
		count_one(MALFORMED);
		return PASS;
	}
	return take(skb, &by, &uoa, &rip);
}

/* Asked for each packet that a socket of the cgroup is to get. The data begins with the IP header. */
SEC("cgroup_skb/ingress")
int receiver_ingress(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (!READ(skb, 0, &ip) || ip.ihl <= 5 || ip.protocol != IPPROTO_UDP)
			return PASS;
		return look_at_options4(skb);
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		__u8 next;

		if (!READ(skb, offsetof(struct ipv6hdr, nexthdr), &next))
			return PASS;
		if (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS)
			return look_at_options6(skb);
	}
	return PASS;
}

static __always_inline void remember(struct bpf_sock *sk, const struct learned *learned)
{
	struct heard *heard = bpf_sk_storage_get(&last_heard, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!heard)
		return;
	heard->client = learned->client;
	heard->vip = learned->vip;
	heard->cport = learned->cport;
	heard->vport = learned->vport;
}

/* The client that sends from by->peer, where a socket can see it; the tick of use is set. */
static __always_inline struct learned *client_of(struct tuple *by, struct bpf_sock *sk)
{
	struct learned *learned = FIND(&by_lip, by, struct learned);
	__u64 now;

	if (!learned) {
		count_one(RECEIVED_OTHER);
		return 0;
	}
	remember(sk, learned);
	now = current_tick();
	if (learned->used != now)
		learned->used = now;
	if (learned->flags) {
		if (learned->flags & CROSSED) {
			count_one(RECEIVED_CROSSED);
			return 0;
		}
		learned->flags = 0;
		point(by, learned);
	}
	return learned;
}

static __always_inline void tuple4(struct tuple *tuple, struct bpf_sock_addr *ctx, struct bpf_sock *sk)
{
	set_ipv4(&tuple->peer, ctx->user_ip4);
	set_bound_ipv4(&tuple->bound, sk->src_ip4);
	tuple->ports = TUPLE_PORTS(ctx->user_port, bpf_htons(sk->src_port));
}

/* IPv4 on a socket of both families is by addresses that are mapped. */
static __always_inline void tuple6(struct tuple *tuple, struct bpf_sock_addr *ctx, struct bpf_sock *sk)
{
	set_words(&tuple->peer, ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]);
	if (is_mapped(&tuple->peer))
		set_bound_ipv4(&tuple->bound, sk->src_ip4);
	else
		set_words(&tuple->bound, sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3]);
	tuple->ports = TUPLE_PORTS(ctx->user_port, bpf_htons(sk->src_port));
}

static __always_inline void set4(struct bpf_sock_addr *ctx, const struct address *address, __be16 port)
{
	ctx->user_ip4 = address->low >> 32;
	ctx->user_port = port;
}

static __always_inline void set6(struct bpf_sock_addr *ctx, const struct address *address, __be16 port)
{
	ctx->user_ip6[0] = address->high;
	ctx->user_ip6[1] = address->high >> 32;
	ctx->user_ip6[2] = address->low;
	ctx->user_ip6[3] = address->low >> 32;
	ctx->user_port = port;
}

SEC("cgroup/recvmsg4")
int receiver_recvmsg4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct learned *learned;
	struct tuple by;

	if (!sk)
		return PASS;
	tuple4(&by, ctx, sk);
	learned = client_of(&by, sk);
	if (!learned)
		return PASS;
	set4(ctx, &learned->client, learned->cport);
	count_one(RECEIVED);
	return PASS;
}

SEC("cgroup/recvmsg6")
int receiver_recvmsg6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct learned *learned;
	struct tuple by;

	if (!sk)
		return PASS;
	tuple6(&by, ctx, sk);
	learned = client_of(&by, sk);
	if (!learned)
		return PASS;
	set6(ctx, &learned->client, learned->cport);
	count_one(RECEIVED);
	return PASS;
}

static __always_inline struct way *way_to(struct tuple *client)
{
	struct way *way = FIND(&by_client, client, struct way);
	__u64 now;

	if (!way)
		return 0;
	now = current_tick();
	if (way->used != now)
		way->used = now;
	return way;
}

SEC("cgroup/sendmsg4")
int receiver_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct tuple client;
	struct way *way;

	if (!sk)
		return PASS;
	tuple4(&client, ctx, sk);
	way = way_to(&client);
	if (!way)
		return PASS;
	set4(ctx, &way->lip, way->lport);
	if (!ctx->msg_src_ip4)
		ctx->msg_src_ip4 = way->rip.low >> 32;
	count_one(SENT);
	return PASS;
}

/* Never a mapped address: these are sendmsg4's. */
SEC("cgroup/sendmsg6")
int receiver_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct tuple client;
	struct way *way;

	if (!sk)
		return PASS;
	tuple6(&client, ctx, sk);
	way = way_to(&client);
	if (!way)
		return PASS;
	set6(ctx, &way->lip, way->lport);
	if (!(ctx->msg_src_ip6[0] | ctx->msg_src_ip6[1] | ctx->msg_src_ip6[2] | ctx->msg_src_ip6[3])) {
		ctx->msg_src_ip6[0] = way->rip.high;
		ctx->msg_src_ip6[1] = way->rip.high >> 32;
		ctx->msg_src_ip6[2] = way->rip.low;
		ctx->msg_src_ip6[3] = way->rip.low >> 32;
	}
	count_one(SENT);
	return PASS;
}

SEC("cgroup/connect4")
int receiver_connect4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct tuple client;
	struct way *way;

	if (!sk || ctx->protocol != IPPROTO_UDP)
		return PASS;
	tuple4(&client, ctx, sk);
	way = way_to(&client);
	if (!way)
		return PASS;
	set4(ctx, &way->lip, way->lport);
	count_one(CONNECTED);
	return PASS;
}

SEC("cgroup/connect6")
int receiver_connect6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct tuple client;
	struct way *way;

	if (!sk || ctx->protocol != IPPROTO_UDP)
		return PASS;
	tuple6(&client, ctx, sk);
	way = way_to(&client);
	if (!way)
		return PASS;
	set6(ctx, &way->lip, way->lport);
	count_one(CONNECTED);
	return PASS;
}

SEC("cgroup/getpeername4")
int receiver_getpeername4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct learned *learned;
	struct tuple by;

	if (!sk || ctx->protocol != IPPROTO_UDP)
		return PASS;
	tuple4(&by, ctx, sk);
	learned = FIND(&by_lip, &by, struct learned);
	if (!learned || learned->flags & CROSSED)
		return PASS;
	set4(ctx, &learned->client, learned->cport);
	count_one(NAMED);
	return PASS;
}

SEC("cgroup/getpeername6")
int receiver_getpeername6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct learned *learned;
	struct tuple by;

	if (!sk || ctx->protocol != IPPROTO_UDP)
		return PASS;
	tuple6(&by, ctx, sk);
	learned = FIND(&by_lip, &by, struct learned);
	if (!learned || learned->flags & CROSSED)
		return PASS;
	set6(ctx, &learned->client, learned->cport);
	count_one(NAMED);
	return PASS;
}

/*
 * What the modules' programs pass, with the answer in it; the names in front of it are what they ask about.
 */
struct answer_of_both {
	__u8 asked[38];
	__u16 family;
	__u8 client[16];
	__be16 cport;
} __attribute__((packed));

struct answer_of_ipv4 {
	__u8 asked[12];
	__u8 client[4];
	__be16 cport;
} __attribute__((packed));

struct answer_with_vip {
	__u32 is_ipv6;
	__be16 cport;
	__be16 vport;
	__u8 addresses[32]; /* both, one behind the other */
};

struct answer_with_network {
	__u32 is_ipv6;
	__u32 network;
	__be16 cport;
	__be16 vport;
	__u8 addresses[32];
};

static __always_inline void put_address(void *to, const struct address *address, bool is_v4)
{
	__u32 ip = address->low >> 32;

	if (is_v4)
		__builtin_memcpy(to, &ip, 4);
	else
		__builtin_memcpy(to, address, 16);
}

#define ANSWER(type, ...)                                                            \
	({                                                                           \
		type *answer = ctx->optval;                                          \
		if ((void *)(answer + 1) > ctx->optval_end)                          \
			return PASS;                                                 \
		__VA_ARGS__;                                                         \
		answer->cport = heard->cport;                                        \
		ctx->optlen = sizeof(*answer);                                       \
	})

SEC("cgroup/getsockopt")
int receiver_getsockopt(struct bpf_sockopt *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct heard *heard;
	bool is_v4;

	if (ctx->level != IPPROTO_IP_LEVEL || ctx->optname < OPTION_LOOKUP || ctx->optname > OPTION_LOOKUP2) {
		/* The kernel's own answer, which may be longer than what is shown here. */
		if (ctx->optlen > PAGE_BYTES)
			ctx->optlen = 0;
		return PASS;
	}
	/* A module is there, and knows. */
	if (!ctx->retval || !sk)
		return PASS;
	heard = bpf_sk_storage_get(&last_heard, sk, 0, 0);
	if (!heard)
		return PASS;
	is_v4 = is_mapped(&heard->client);
	if (ctx->optname == OPTION_LOOKUP) {
		if (ctx->optlen >= (int)sizeof(struct answer_of_both))
			ANSWER(struct answer_of_both,
			       answer->family = is_v4 ? FAMILY_IPV4 : FAMILY_IPV6,
			       put_address(answer->client, &heard->client, is_v4));
		else if (is_v4)
			ANSWER(struct answer_of_ipv4, put_address(answer->client, &heard->client, true));
		else
			return PASS;
	} else if (ctx->optname == OPTION_LOOKUP1) {
		ANSWER(struct answer_with_vip,
		       answer->is_ipv6 = !is_v4, answer->vport = heard->vport,
		       put_address(answer->addresses, &heard->client, is_v4),
		       put_address(answer->addresses + (is_v4 ? 4 : 16), &heard->vip, is_v4));
	} else {
		ANSWER(struct answer_with_network,
		       answer->is_ipv6 = !is_v4, answer->network = 0, answer->vport = heard->vport,
		       put_address(answer->addresses, &heard->client, is_v4),
		       put_address(answer->addresses + (is_v4 ? 4 : 16), &heard->vip, is_v4));
	}
	ctx->retval = 0;
	count_one(ASKED);
	return PASS;
}

/* No function that this program calls asks for a license; the project's is MIT. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";
