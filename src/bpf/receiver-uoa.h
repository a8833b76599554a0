/*
 * Finds and reads a UOA (docs/wire-formats.md): an IPv4 option, or an IPv6 destination option in front of
 * UDP. What follows the first one is not looked at.
 */
#pragma once
#include <linux/udp.h>
#include "receiver-maps.h"

#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_PAD1 0
#define TYPE_UOA 31
#define TYPE_UNIFIED 30
#define OPTIONS_MAX 20
#define DESTINATION_OPTIONS_MAX 8

struct uoa {
	__u64 at; /* its option; 0: there is none */
	__u64 len; /* all of it */
	__u64 udp_at;
	struct address client;
	struct address vip;
	__u64 cport;
	__u64 vport;
};

static __always_inline bool is_uoa_type(__u8 type)
{
	return type == TYPE_UOA || type == TYPE_UNIFIED;
}

/* False: the packet ends before. */
static __noinline bool read_address(struct __sk_buff *skb, __u32 at, bool is_v4, struct address *to)
{
	__u32 ip;

	if (!is_v4)
		return READ(skb, at, to);
	if (!READ(skb, at, &ip))
		return false;
	set_ipv4(to, ip);
	return true;
}

/* An address that a client can have. */
static __noinline bool is_unicast(const struct address *address, bool is_v4)
{
	__u8 first = is_v4 ? address->low >> 32 : address->high;

	if (is_v4)
		return first != 0 && first < 224;
	return first != 0xff && (address->high | address->low) && !is_mapped(address);
}

/* The client at `at`, and behind it the VIP. False: malformed. */
static __noinline bool read_ends(struct __sk_buff *skb, struct uoa *uoa, __u32 at, bool is_v4, bool has_vip)
{
	if (!read_address(skb, at, is_v4, &uoa->client) || !is_unicast(&uoa->client, is_v4))
		return false;
	return !has_vip || read_address(skb, at + (is_v4 ? 4 : 16), is_v4, &uoa->vip);
}

static __noinline bool read_ports(struct __sk_buff *skb, struct uoa *uoa, __u32 at, bool has_vip)
{
	__be16 port;

	if (!READ(skb, at, &port) || !port)
		return false;
	uoa->cport = port;
	if (!has_vip)
		return true;
	if (!READ(skb, at + 2, &port))
		return false;
	uoa->vport = port;
	return true;
}

/* Of an IPv4 option. False: malformed. */
static __noinline bool read_option4(struct __sk_buff *skb, struct uoa *uoa, __u8 type)
{
	__u32 at = uoa->at;
	__u8 operation;

	switch (uoa->len) {
	case 8:
	case 20:
		return type == TYPE_UOA && read_ports(skb, uoa, at + 2, false) &&
		       read_ends(skb, uoa, at + 4, uoa->len == 8, false);
	case 16:
	case 40:
		if (!READ(skb, at + 2, &operation) || (operation & 1) != (uoa->len == 40))
			return false;
		return read_ports(skb, uoa, at + 4, true) && read_ends(skb, uoa, at + 8, uoa->len == 16, true);
	}
	return false;
}

/* The same of a destination option. */
static __noinline bool read_option6(struct __sk_buff *skb, struct uoa *uoa, __u8 type)
{
	__u32 at = uoa->at;

	switch (uoa->len) {
	case 8:
	case 20:
		return type == TYPE_UOA && read_ports(skb, uoa, at + 2, false) &&
		       read_ends(skb, uoa, at + 4, uoa->len == 8, false);
	case 14:
	case 38:
		return read_ports(skb, uoa, at + 2, true) && read_ends(skb, uoa, at + 6, uoa->len == 14, true);
	}
	return false;
}

/*
 * Where a UOA stands between `at` and `end`: its type, its length and where, in one number; 0: there is none.
 * These two are functions that the verifier looks at once and by themselves (no static): else it would follow
 * each way out of their loops through all that comes behind. Up to Linux 6.15 it also follows ways that a
 * processor only guesses, past the end of a loop: so there are none, but their bodies one behind the other.
 */
#define FOUND(type, len, at) ((__u32)(type) | (__u32)(len) << 8 | (__u32)(at) << 18)
#define FOUND_TYPE(found) ((found) & 0xff)
#define FOUND_LEN(found) ((found) >> 8 & 0x3ff)
#define FOUND_AT(found) ((found) >> 18)

__noinline __u32 find_option4(struct __sk_buff *skb, __u32 at, __u32 end)
{
	UNROLL for (int i = 0; i < OPTIONS_MAX; i++) {
		__u8 type, len;

		if (at >= end || !READ(skb, at, &type) || type == OPTION_END)
			return 0;
		if (type == OPTION_NOP) {
			at++;
			continue;
		}
		if (!READ(skb, at + 1, &len) || len < 2)
			return 0;
		if (is_uoa_type(type))
			return FOUND(type, len, at);
		at += len;
	}
	return 0;
}

__noinline __u32 find_option6(struct __sk_buff *skb, __u32 at, __u32 end)
{
	UNROLL for (int i = 0; i < DESTINATION_OPTIONS_MAX; i++) {
		__u8 type, len;

		if (at >= end || !READ(skb, at, &type))
			return 0;
		if (type == OPTION_PAD1) {
			at++;
			continue;
		}
		if (!READ(skb, at + 1, &len))
			return 0;
		if (is_uoa_type(type))
			return FOUND(type, (__u32)len + 2, at);
		at += 2 + (__u32)len;
	}
	return 0;
}
