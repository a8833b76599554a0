/*
 * Makes the load: each run writes the headers of one UDP datagram (RFC 768, 791) over the frame it is given,
 * which holds an earlier packet, waits until that datagram is due, and lets it go. Flows follow each other in
 * turn, told apart by source address and port; the payload begins with the time, so that the way back can be
 * measured. Flow n comes from address 11.0.0.1 + n / 16,384 and port 10,000 + n % 16,384.
 *
 * When the run's time is over, packets are only dropped; what has arrived by then is what counts, since later
 * packets come out of some queue.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "load.h"

#define FIRST_CIP 0x0b000001
#define FIRST_CPORT 10000
#define PORTS_SHIFT 14
/* A late source catches up on this much; what it owes beyond is forgiven, and shows as a lower rate. */
#define MAX_DEBT_NS 1000000
/* Looks at the clock while a packet is not due, about 20 us in all; the verifier follows each. */
#define MAX_LOOKS 800
#define TTL 64
#define DONT_FRAGMENT 0x4000

/* Set before it is loaded. Addresses and port in network order. */
const volatile struct {
	__u16 dst_mac[3], src_mac[3];
	__u32 dst;
	__u16 dport;
	__u16 payload_len;
	/* Of the payload without the time, as 16-bit words of this machine's order. */
	__u32 payload_sum;
	/* What becomes of each frame: sent from the interface it was given to, or taken as received there. */
	__u32 verdict;
} fields;

static __always_inline __u16 checksum(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline __u32 halves(__u32 word)
{
	return (word & 0xffff) + (word >> 16);
}

/* The time at which the next packet goes out; 0 when none does. */
static __always_inline __u64 wait_until_due(void)
{
	__u64 now = bpf_ktime_get_ns();

	if (control.start_ns == 0) {
		control.start_ns = control.due_ns = now;
		control.end_ns = now + control.duration_ns;
	}
	if (now >= control.end_ns) {
		if (control.ended)
			return 0;
		control.ended = 1;
		control.arrived_at_end = control.arrived;
		control.delivered_at_end = control.delivered;
		control.answered_at_end = control.answered;
		return 0;
	}
	if (control.due_ns < now - MAX_DEBT_NS)
		control.due_ns = now - MAX_DEBT_NS;
	for (int looks = 0; now < control.due_ns; looks++) {
		if (looks == MAX_LOOKS)
			return 0;
		now = bpf_ktime_get_ns();
	}
	control.due_ns += control.interval_ns;
	return now;
}

SEC("xdp") int source(struct xdp_md *ctx)
{
	struct link *link = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(link + 1);
	struct udphdr *udp = (void *)(ip + 1);
	__u64 *payload = (void *)(udp + 1);

	if ((void *)(payload + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	__u64 now = wait_until_due();
	if (now == 0)
		return XDP_DROP;

	__u64 turn = control.next_flow;
	control.sent++;
	control.next_flow = turn + 1 < control.flows ? turn + 1 : 0;
	__u32 flow = turn + control.first_flow;
	__u32 src = bpf_htonl(FIRST_CIP + (flow >> PORTS_SHIFT));
	__u16 sport = bpf_htons(FIRST_CPORT + (flow & ((1 << PORTS_SHIFT) - 1)));
	__u32 dst = fields.dst;
	__u16 udp_len = bpf_htons(sizeof(struct udphdr) + fields.payload_len);
	__u16 total_len = bpf_htons(sizeof(struct iphdr) + sizeof(struct udphdr) + fields.payload_len);
	__u64 stamp = bpf_cpu_to_be64(now);

	for (int i = 0; i < 3; i++) {
		link->dst[i] = fields.dst_mac[i];
		link->src[i] = fields.src_mac[i];
	}
	link->type = bpf_htons(ETH_P_IP);
	*(__u16 *)ip = bpf_htons(0x4500);
	ip->tot_len = total_len;
	ip->id = 0;
	ip->frag_off = bpf_htons(DONT_FRAGMENT);
	ip->ttl = TTL;
	ip->protocol = IPPROTO_UDP;
	ip->saddr = src;
	ip->daddr = dst;
	__u32 addresses = halves(src) + halves(dst);
	ip->check = checksum(addresses + bpf_htons(0x4500) + total_len + bpf_htons(DONT_FRAGMENT) +
				    bpf_htons(TTL << 8 | IPPROTO_UDP));
	udp->source = sport;
	udp->dest = fields.dport;
	udp->len = udp_len;
	__u16 udp_sum = checksum(addresses + bpf_htons(IPPROTO_UDP) + 2 * udp_len + sport + fields.dport +
				 halves(stamp) + halves(stamp >> 32) + fields.payload_sum);
	/* 0 would mean that there is none. */
	udp->check = udp_sum ? udp_sum : 0xffff;
	*payload = stamp;
	return fields.verdict;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
