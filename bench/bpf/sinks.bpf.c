/*
 * The programs at the ends of the load's way. At both interfaces of the forwarder packets pass, and those
 * that come in on the load's side are counted. At the real server datagrams of the load are counted and end,
 * or go back. At the client the answers are counted, sorted by the time that has passed since the one in
 * their payload, and end.
 *
 * A datagram of the load is IPv4 UDP to (or from) the port, with a payload of the length that is set. What
 * has the port and another length, a UOA that travels alone, ends too, uncounted. Everything else passes.
 */
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "load.h"

/* Set before it is loaded: where the load goes to, and answers come from; in network order. */
const volatile __u16 port;

enum match { OTHER, OTHER_LENGTH, LOAD };

struct datagram {
	struct link *link;
	struct iphdr *ip;
	struct udphdr *udp;
	__u64 *stamp;
};

static __always_inline enum match match(struct xdp_md *ctx, size_t port_off, struct datagram *found)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct link);

	if (data + sizeof(struct link) + sizeof(struct iphdr) + sizeof(struct udphdr) > end)
		return OTHER;
	found->link = data;
	found->ip = ip;
	if (found->link->type != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_UDP)
		return OTHER;
	__u32 ip_len = 4 * (*(__u8 *)ip & 15);
	found->udp = (void *)ip + ip_len;
	if ((void *)(found->udp + 1) > end || *(__u16 *)((void *)found->udp + port_off) != port)
		return OTHER;
	found->stamp = (void *)(found->udp + 1);
	if (bpf_ntohs(ip->tot_len) - ip_len - sizeof(struct udphdr) != control.payload_len)
		return OTHER_LENGTH;
	return (void *)(found->stamp + 1) > end ? OTHER_LENGTH : LOAD;
}

/*
 * The forwarder needs programs at all because veth takes frames that were redirected to its peer only while
 * it has a program of its own (drivers/net/veth.c, veth_xdp_xmit).
 */
SEC("xdp") int wan(struct xdp_md *ctx __attribute__((unused)))
{
	__sync_fetch_and_add(&control.arrived, 1);
	return XDP_PASS;
}

SEC("xdp") int lan(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_PASS;
}

SEC("xdp") int real_server(struct xdp_md *ctx)
{
	struct datagram at;
	enum match what = match(ctx, offsetof(struct udphdr, dest), &at);

	if (what == OTHER)
		return XDP_PASS;
	if (what == OTHER_LENGTH)
		return XDP_DROP;
	__sync_fetch_and_add(&control.delivered, 1);
	if (!control.echo)
		return XDP_DROP;
	for (int i = 0; i < 3; i++) {
		__u16 part = at.link->dst[i];
		at.link->dst[i] = at.link->src[i];
		at.link->src[i] = part;
	}
	__u32 address = at.ip->saddr;
	at.ip->saddr = at.ip->daddr;
	at.ip->daddr = address;
	at.udp->dest = at.udp->source;
	at.udp->source = port;
	/* Who sends through sockets leaves the checksum to the network card, and there is none: without one. */
	at.udp->check = 0;
	return XDP_TX;
}

SEC("xdp") int client(struct xdp_md *ctx)
{
	struct datagram at;
	enum match what = match(ctx, offsetof(struct udphdr, source), &at);

	if (what == OTHER)
		return XDP_PASS;
	if (what == OTHER_LENGTH)
		return XDP_DROP;
	__sync_fetch_and_add(&control.answered, 1);
	__u64 bucket = (bpf_ktime_get_ns() - bpf_be64_to_cpu(*at.stamp)) >> HISTOGRAM_SHIFT;
	if (bucket >= HISTOGRAM_BUCKETS)
		bucket = HISTOGRAM_BUCKETS - 1;
	__sync_fetch_and_add(&control.histogram[bucket], 1);
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
