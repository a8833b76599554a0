/*
 * Finds the hot session of a packet by its ends. A hash of these names two buckets, and in one of them a
 * place has the same hash as its tag and says which row to look at; the row says whether it is so. Of two
 * entries with the same hash processes put one into each bucket.
 */
#pragma once
#include <stdbool.h>
#include "hot-entries.h"
#include "mix.h"

/*
 * A member of a pair. The compiler would make a choice of two pointers, which the verifier does not take
 * without CAP_PERFMON.
 */
#define OF(pair, direction)                       \
	(*({                                      \
		__u64 of_ = (direction) & 1;      \
		asm volatile("" : "+r"(of_));     \
		&(pair)[of_];                     \
	}))

/* In what is found of an entry. */
#define GENERATION_AT 32

/* An entry of the table. */
struct found {
	struct hot *hot;
	__u64 session;
	__u64 direction;
	/* The same, to branch by: where `direction` is known, the verifier takes it for no pointer any more. */
	__u64 is_inbound;
	__u64 generation; /* before anything else of it was read */
};

/* What else changes in a session meanwhile changes this first. */
static __always_inline __u16 generation_of(const struct hot *hot)
{
	return *(volatile const __u16 *)&hot->generation;
}

static __always_inline const struct hashing *find_hashing(void)
{
	__u64 first = 0;

	return bpf_map_lookup_elem(&hashing, &first);
}

static __always_inline __u64 add_word(const struct hashing *by, int at, __u32 word)
{
	return (__u64)by->factors[2 * at] * (word >> 16) + (__u64)by->factors[2 * at + 1] * (word & 0xffff);
}

static __always_inline __u64 add_words(const struct hashing *by, int at, __u64 words)
{
	return add_word(by, at, words) + add_word(by, at + 1, words >> 32);
}

/* Without branches, which would be guessed wrong half of the time. 0: there is none. */
static __always_inline __u64 find_in(__u64 index, __u32 tag)
{
	const struct hot_bucket *bucket = bpf_map_lookup_elem(&hot_buckets, &index);
	__u64 entry = 0;

	if (!bucket)
		return 0;
#pragma clang loop unroll(full)
	for (int i = 0; i < HOT_PLACES; i++) {
		__s64 mask = (__s64)(bucket->tags[i] ^ tag) - 1;

		/* The compiler would make branches of it. */
		asm volatile("%0 s>>= 63" : "+r"(mask));
		entry |= bucket->entries[i] & mask;
	}
	return entry;
}

/* The session that an entry of the table names; false: there is no entry. */
static __always_inline bool follow_entry(__u64 entry, struct found *found)
{
	__u64 session = (entry - 1) >> 1;

	if (!entry)
		return false;
	found->session = session;
	found->direction = (entry - 1) & 1;
	found->is_inbound = entry & 1;
	asm volatile("" : "+r"(found->is_inbound));
	found->hot = bpf_map_lookup_elem(&hot, &session);
	return found->hot;
}

/* An entry with the generation that its row had before anything else of it was read. */
static __always_inline __u64 with_generation(__u64 entry, __u64 generation)
{
	return generation << GENERATION_AT | entry;
}

static __always_inline __u64 check_entry4(__u64 entry, __u64 addresses, __u32 ports)
{
	struct found found;
	__u64 generation;

	if (!follow_entry(entry, &found))
		return 0;
	generation = generation_of(found.hot);
	if (found.hot->family != 4 || OF(found.hot->addresses, found.direction) != addresses ||
	    OF(found.hot->ports, found.direction) != ports)
		return 0;
	return with_generation(entry, generation);
}

static __always_inline __u64 check_entry6(__u64 entry, __u64 source0, __u64 source1, __u64 destination0,
					  __u64 destination1, __u32 ports)
{
	__u64 generation, session;
	const struct hot6 *rows;
	struct found found;
	const __u64 *own;

	if (!follow_entry(entry, &found))
		return 0;
	generation = generation_of(found.hot);
	if (found.hot->family != 6 || OF(found.hot->ports, found.direction) != ports)
		return 0;
	session = found.session;
	rows = bpf_map_lookup_elem(&hot6, &session);
	if (!rows)
		return 0;
	own = OF(rows->addresses, found.direction);
	if (own[0] != source0 || own[1] != source1 || own[2] != destination0 || own[3] != destination1)
		return 0;
	return with_generation(entry, generation);
}

/*
 * The entry of packets with these addresses and ports, as they stand there, source first; 0: there is none.
 * The verifier looks at such a function once and by itself (no static), and not on each way through programs.
 */
__noinline __u64 find_entry4(__u64 addresses, __u32 ports)
{
	const struct hashing *by = find_hashing();
	__u64 found;
	__u32 sum;

	if (!by)
		return 0;
	sum = by->start + add_words(by, 0, addresses) + add_word(by, 2, ports);
	found = check_entry4(find_in(mix(sum) & by->mask, sum), addresses, ports);
	if (found)
		return found;
	return check_entry4(find_in(mix(~sum) & by->mask, sum), addresses, ports);
}

/* The same of IPv6. */
__noinline __u64 find_entry6(__u64 source0, __u64 source1, __u64 destination0, __u64 destination1, __u32 ports)
{
	const struct hashing *by = find_hashing();
	__u64 found;
	__u32 sum;

	if (!by)
		return 0;
	sum = by->start + add_words(by, 0, source0) + add_words(by, 2, source1) + add_words(by, 4, destination0) +
	      add_words(by, 6, destination1) + add_word(by, 8, ports);
	found = check_entry6(find_in(mix(sum) & by->mask, sum), source0, source1, destination0, destination1, ports);
	if (found)
		return found;
	return check_entry6(find_in(mix(~sum) & by->mask, sum), source0, source1, destination0, destination1,
			    ports);
}

/* Of what was found; false: nothing was. */
static __always_inline bool follow(__u64 entry, struct found *found)
{
	found->generation = entry >> GENERATION_AT;
	return follow_entry((__u32)entry, found);
}
