/*
 * What the load's programs have in common. First the memory that the programs of one network and the bench
 * share (control.ts says what is what): all zero at first, one map, .bss, for all objects of a network. Only
 * the source writes what is not a counter.
 */
#pragma once
#include <linux/types.h>

/* 256 ns per bucket, 33 ms in all; the last bucket holds what took longer. */
#define HISTOGRAM_SHIFT 8
#define HISTOGRAM_BUCKETS (1 << 17)

/*
 * What one processor writes for each packet stands far from what another one uses: a cache line that goes
 * back and forth between two costs both of them more than all else that is done here.
 */
#define APART __attribute__((aligned(128)))

struct control {
	__u64 interval_ns, duration_ns, flows, first_flow, payload_len, echo;
	__u64 start_ns APART;
	__u64 due_ns, end_ns, next_flow, sent, ended;
	__u64 arrived_at_end, delivered_at_end, answered_at_end;
	__u64 arrived APART;
	__u64 delivered APART;
	__u64 answered APART;
	__u64 histogram[HISTOGRAM_BUCKETS] APART;
} control;

/* At the begin of each payload: nanoseconds since boot when the packet was made. */
#define STAMP_LEN 8

/* The link header of Ethernet as half words, aligned in a frame; struct ethhdr is read byte by byte. */
struct link {
	__u16 dst[3], src[3], type;
};
