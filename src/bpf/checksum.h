/*
 * The Internet checksum (RFC 1071) over words as they stand in memory: ones' complement sums have any byte
 * order. Sums are not folded until said so; a checksum field holds the complement of a folded sum.
 */
#pragma once
#include <linux/types.h>

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* The sum of `count` times eight bytes. */
static __always_inline __u64 sum_words(const __u64 *words, int count)
{
	__u64 sum = 0;

#pragma clang loop unroll(full)
	for (int i = 0; i < count; i++)
		sum += (words[i] & 0xffffffff) + (words[i] >> 32);
	return sum;
}

/* What is to be added where `from` becomes `to`, both folded (RFC 1624). */
static __always_inline __u32 difference(__u16 from, __u16 to)
{
	return (__u32)to + (__u16)~from;
}
