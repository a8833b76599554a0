/* A packet under way through the fast path, and what its programs have from start to end. */
#pragma once
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
#include "hot-lookup.h"
#include "reason.h"

/* Fixed for the life of a program. */
const volatile struct {
	__u32 port_row; /* which row of `control` is the interface's */
	__u32 is_steered; /* tc: rings get packets of the interface, see hot-entries.h */
} settings;

/* Of `skb` and `xdp` one is there, known when this is compiled. */
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
	struct found found;
	struct way *way;
	/*
	 * Where it goes to, as numbers. Up to Linux 6.15 the verifier also follows ways that a processor only
	 * guesses, and refuses pointers there that are none.
	 */
	__u32 to_ifindex;
	__u32 goes_back;
};

/* To a pointer, in a branch: the compiler would make a number of both branches and add that. */
#define ADD_CONSTANT(pointer, constant) asm volatile("%0 += %1" : "+r"(pointer) : "i"(constant))

static __always_inline __u32 ports_of(const struct udphdr *udp)
{
	return *(const __u32 *)udp;
}
