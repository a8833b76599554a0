/*
 * What programs read of a packet: headers by the kernel's structures, extension headers of IPv6, the words of
 * addresses. Everything is in network byte order until said otherwise.
 */
#pragma once
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Protocol of the DPVS dialect opp: its own header, then UDP. */
#define PROTOCOL_OPP 248
#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_FRAGMENT_OFFSET 0x1fff
#define IPV6_MORE_FRAGMENTS 0x0001
#define IPV6_FRAGMENT_OFFSET 0xfff8
#define VLAN_ID 0x0fff
#define ICMP_HEADER_LEN 8
/* So many extension headers are followed, in a packet and in an embedded one. */
#define MAX_EXTENSIONS 3

struct ports {
	__be16 source;
	__be16 dest;
};

/* The beginning of a protocol-248 header; the length is that of all of it. */
struct opp {
	__u8 version;
	__u8 inner;
	__be16 length;
};

/* The beginning of any extension header, and all of a fragment header (RFC 8200, 4.5). */
struct extension {
	__u8 next;
	__u8 length; /* beyond the first 8 bytes, in such units */
	__be16 fragment;
	__be32 id;
};

/*
 * The proxy has CAP_BPF and not CAP_PERFMON, so the verifier guards against speculation and leaks: it refuses
 * an address that is computed in a loop, hence this in front of loops over arrays, and a number on the stack
 * where a pointer was saved, which the compiler does in large functions, hence __noinline. Before 6.8 it
 * also refuses a part of eight bytes on the stack where a number was: what a program itself keeps there has
 * eight bytes, and the compiler does likewise (-mcpu=v2).
 */
#define UNROLL _Pragma("clang loop unroll(full)")

/* Reads what stands at `at`, wherever the driver put it; false: the packet ends before. */
#define READ(skb, at, to) (bpf_skb_load_bytes(skb, at, to, sizeof(*(to))) == 0)

/* Where a walk over headers stands. */
struct position {
	__u64 at;
	__u64 protocol;
	/* In front of a fragment header, which has this identification; its packet is a piece of one. */
	__u64 is_piece;
	__u64 id; /* __be32 */
};

/*
 * Goes on behind the extension headers, to UDP, ICMPv6, a protocol-248 header, or a fragment header with one
 * of the bits `piece` (others belong to a whole packet, RFC 6946, or to a first fragment). False: it is none
 * of these.
 */
static __noinline bool follow_extensions(struct __sk_buff *skb, struct position *to, __u16 piece)
{
	for (int followed = 0; followed <= MAX_EXTENSIONS; followed++) {
		struct extension header;

		switch (to->protocol) {
		case IPPROTO_UDP:
		case IPPROTO_ICMPV6:
		case PROTOCOL_OPP:
			return true;
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
			if (!READ(skb, to->at, &header))
				return false;
			to->at += (header.length + 1) * 8;
			break;
		case IPPROTO_FRAGMENT:
			if (!READ(skb, to->at, &header))
				return false;
			if (header.fragment & bpf_htons(piece)) {
				to->is_piece = true;
				to->id = header.id;
				return true;
			}
			to->at += sizeof(header);
			break;
		default:
			return false;
		}
		to->protocol = header.next;
	}
	return false;
}

/* Goes on behind a protocol-248 header, if there is one. False: what then comes is not UDP. */
static __noinline bool reach_udp(struct __sk_buff *skb, struct position *to)
{
	struct opp header;

	if (to->protocol != PROTOCOL_OPP)
		return to->protocol == IPPROTO_UDP;
	if (!READ(skb, to->at, &header) || header.inner != IPPROTO_UDP)
		return false;
	to->at += bpf_ntohs(header.length);
	return true;
}
