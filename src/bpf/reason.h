/*
 * Why a packet is left to the slow path. The list is closed, and each is a label of a metric:
 * FAST_PATH_REASONS of src/fast/layout.ts has the same, in the same order.
 */
#pragma once

enum reason {
	FORWARDED, /* none: it is forwarded here */
	OFF, /* the fast path is switched off */
	DEAD, /* nobody renewed the dead-man word: the proxy is gone or stands still */
	VLAN, /* with the tag of a VLAN */
	NOT_IP,
	NOT_UDP,
	FRAGMENT,
	OPTIONS, /* IPv4 options */
	EXTENSION, /* IPv6 extension headers */
	TRUNCATED, /* ends within its headers, or these make no sense */
	NOT_HOT, /* no entry has its ends */
	/* What follows is about packets of hot sessions. */
	ENDED, /* its session was taken out just now */
	WRONG_SIDE, /* came in where those are not who send such packets */
	NOT_OURS, /* to another Ethernet address than its interface's */
	TTL, /* has no hop left */
	BAD_LENGTH, /* lengths of frame, IP and UDP that do not fit */
	BAD_CHECKSUM, /* of the IPv4 header, or IPv6 without a UDP checksum */
	UNFINISHED, /* XDP: a UDP checksum that its sender left to the card */
	EMPTY, /* without payload from a real server: it may be an echo ACK */
	IDLE, /* after a silence for which a new round of UOA is due */
	NO_HOP, /* the next hop is not known now, or XDP cannot send there */
	TOO_LONG, /* for the next hop */
	CONFIRM, /* one now and then, by which the kernel confirms the neighbor */
	REASONS
};
