/*
 * Sources that workers noted (src/steer/known-sources.ts). A bucket whose sources send more than
 * MOST_PER_PERIOD packets in a period, or did in the one before, is anybody's until they send less.
 * Processors may count at the same time and lose some.
 */
#pragma once
#include "owners.h"

#define TAGS 3
#define PERIOD_SHIFT 27 /* of 2^27 ns, 134 ms */
#define MOST_PER_PERIOD 4096
/* The word of a bucket: number of the period, whether there were too many in the one before, count. */
#define COUNT_MASK 0xfffff
#define TOO_MANY_BEFORE 0x100000
#define PERIOD_AT 21
#define PERIODS 0x7ff

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
