/* The last step of hashes here. */
#pragma once
#include <linux/types.h>

/* MurmurHash3's 32-bit finalizer. */
static __always_inline __u32 mix(__u32 sum)
{
	sum = (sum ^ (sum >> 16)) * 0x85ebca6b;
	sum = (sum ^ (sum >> 13)) * 0xc2b2ae35;
	return sum ^ (sum >> 16);
}
