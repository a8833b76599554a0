/*
 * UDP servers as people write them in C, which echo. What they see of clients is held against what the tests'
 * clients say in the payload (payload.py). They print {"event": "ready"}, and when standard input closes what
 * they counted. Usage: plain_server recvfrom|mmsg|connected|option ADDRESS PORT
 *
 *   recvfrom   recvfrom and sendto
 *   mmsg       recvmmsg and sendmmsg, 32 at a time
 *   connected  a socket for each client, that is connected to it: recvfrom, send and getpeername
 *   option     recvfrom, and socket options 2048 and 2049, as programs ask kernel modules
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAGIC 0x754F4131
#define BATCH 32
#define CLIENTS 512

struct mark {
	unsigned int magic, sequence;
	unsigned char ip[16];
	unsigned short port;
} __attribute__((packed));

static unsigned long received, attributed, wrong, unnamed, empty, asked;
static struct sockaddr_storage own;
static socklen_t own_len;
/* Standard input, the socket that all clients begin at, and one for each client where they are connected. */
static struct pollfd fds[CLIENTS + 2];
static struct sockaddr_storage peers[CLIENTS + 2];
static int count = 2;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void mapped(unsigned char *to, const void *ip, int is_v4)
{
	static const unsigned char prefix[12] = { [10] = 0xff, [11] = 0xff };

	memcpy(to, prefix, 12);
	memcpy(is_v4 ? to + 12 : to, ip, is_v4 ? 4 : 16);
}

static int is_named(const unsigned char *data, ssize_t len)
{
	struct mark mark;

	if (len < (ssize_t)sizeof(mark))
		return 0;
	memcpy(&mark, data, sizeof(mark));
	return mark.magic == htonl(MAGIC);
}

static int is_sender(const unsigned char *data, const unsigned char *ip, unsigned short port)
{
	struct mark mark;

	memcpy(&mark, data, sizeof(mark));
	return !memcmp(mark.ip, ip, 16) && mark.port == port;
}

static void look(const unsigned char *data, ssize_t len, const struct sockaddr_storage *from)
{
	const struct sockaddr_in *v4 = (const void *)from;
	const struct sockaddr_in6 *v6 = (const void *)from;
	unsigned char ip[16];

	received++;
	empty += len == 0;
	if (!is_named(data, len)) {
		unnamed++;
		return;
	}
	if (from->ss_family == AF_INET)
		mapped(ip, &v4->sin_addr, 1);
	else
		mapped(ip, &v6->sin6_addr, 0);
	if (is_sender(data, ip, v4->sin_port))
		attributed++;
	else
		wrong++;
}

static int opened(void)
{
	int fd = socket(own.ss_family, SOCK_DGRAM | SOCK_NONBLOCK, 0), one = 1, bytes = 16 << 20;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) || bind(fd, (void *)&own, own_len))
		fail("bind");
	return fd;
}

/* What DPVS's module is asked for. */
struct map {
	unsigned short family;
	unsigned char source[16], destination[16];
	unsigned short sport, dport;
	unsigned short client_family;
	unsigned char client[16];
	unsigned short cport;
} __attribute__((packed));

/* ByteDance's. */
struct ends {
	unsigned int is_ipv6;
	unsigned short sport, dport;
	unsigned char addresses[32];
};

static void ask(int fd, const unsigned char *data, ssize_t len)
{
	struct map map = { 0 };
	struct ends ends = { 0 };
	socklen_t map_len = sizeof(map), ends_len = sizeof(ends);
	unsigned char ip[16];

	if (!is_named(data, len))
		return;
	if (getsockopt(fd, IPPROTO_IP, 2048, &map, &map_len) || getsockopt(fd, IPPROTO_IP, 2049, &ends, &ends_len))
		fail("getsockopt");
	mapped(ip, map.client, map.client_family == AF_INET);
	if (map_len != sizeof(map) || !is_sender(data, ip, map.cport)) {
		fprintf(stderr, "option 2048 names another\n");
		exit(1);
	}
	mapped(ip, ends.addresses, !ends.is_ipv6);
	if (ends_len != sizeof(ends) || !is_sender(data, ip, ends.sport)) {
		fprintf(stderr, "option 2049 names another\n");
		exit(1);
	}
	asked++;
}

static void one_by_one(int fd, int asks)
{
	unsigned char data[65536];
	struct sockaddr_storage from;

	for (int i = 0; i < 64; i++) {
		socklen_t from_len = sizeof(from);
		ssize_t len = recvfrom(fd, data, sizeof(data), 0, (void *)&from, &from_len);

		if (len < 0)
			return;
		look(data, len, &from);
		if (asks)
			ask(fd, data, len);
		if (sendto(fd, data, len, 0, (void *)&from, from_len) != len)
			fail("sendto");
	}
}

static void many(int fd)
{
	static unsigned char data[BATCH][2048];
	struct sockaddr_storage from[BATCH];
	struct mmsghdr messages[BATCH] = { 0 };
	struct iovec parts[BATCH];
	int got;

	for (int i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){ data[i], sizeof(data[i]) };
		messages[i].msg_hdr.msg_name = &from[i];
		messages[i].msg_hdr.msg_namelen = sizeof(from[i]);
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	got = recvmmsg(fd, messages, BATCH, 0, NULL);
	if (got <= 0)
		return;
	for (int i = 0; i < got; i++) {
		look(data[i], messages[i].msg_len, &from[i]);
		parts[i].iov_len = messages[i].msg_len;
	}
	if (sendmmsg(fd, messages, got, 0) != got)
		fail("sendmmsg");
}

/*
 * A datagram of a client that has a socket of its own, or gets one now. Between bind and connect of a new
 * socket the kernel puts datagrams of others into it: whose each is says its source, not the socket.
 */
static void serve_one(const unsigned char *data, ssize_t len, const struct sockaddr_storage *from, socklen_t from_len)
{
	struct sockaddr_storage peer = { 0 };
	socklen_t peer_len = sizeof(peer);
	int i = 2;

	while (i < count && memcmp(&peers[i], from, from_len))
		i++;
	if (i == CLIENTS + 2)
		fail("no room");
	if (i == count) {
		fds[count++] = (struct pollfd){ opened(), POLLIN, 0 };
		peers[i] = *from;
		if (connect(fds[i].fd, (void *)from, from_len))
			fail("connect");
	}
	if (getpeername(fds[i].fd, (void *)&peer, &peer_len))
		fail("getpeername");
	look(data, len, &peer);
	if (send(fds[i].fd, data, len, 0) != len)
		fail("send");
}

static void serve_each(int fd)
{
	unsigned char data[65536];
	struct sockaddr_storage from;

	for (;;) {
		socklen_t from_len = sizeof(from);
		ssize_t len;

		memset(&from, 0, sizeof(from));
		len = recvfrom(fd, data, sizeof(data), 0, (void *)&from, &from_len);
		if (len < 0)
			break;
		serve_one(data, len, &from, from_len);
	}
	if (errno != EAGAIN)
		fail("recvfrom");
}

int main(int argc, char **argv)
{
	const char *mode = argv[1];

	if (argc != 4)
		return 2;
	if (strchr(argv[2], ':')) {
		struct sockaddr_in6 *v6 = (void *)&own;

		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(atoi(argv[3]));
		inet_pton(AF_INET6, argv[2], &v6->sin6_addr);
		own_len = sizeof(*v6);
	} else {
		struct sockaddr_in *v4 = (void *)&own;

		v4->sin_family = AF_INET;
		v4->sin_port = htons(atoi(argv[3]));
		inet_pton(AF_INET, argv[2], &v4->sin_addr);
		own_len = sizeof(*v4);
	}
	fds[0] = (struct pollfd){ 0, POLLIN, 0 };
	fds[1] = (struct pollfd){ opened(), POLLIN, 0 };
	printf("{\"event\": \"ready\"}\n");
	fflush(stdout);
	while (poll(fds, count, -1) > 0) {
		char byte;

		if (fds[0].revents && read(0, &byte, 1) <= 0)
			break;
		for (int i = 2; i < count; i++)
			if (fds[i].revents)
				serve_each(fds[i].fd);
		if (!fds[1].revents)
			continue;
		if (!strcmp(mode, "mmsg")) {
			many(fds[1].fd);
		} else if (!strcmp(mode, "connected")) {
			serve_each(fds[1].fd);
		} else {
			one_by_one(fds[1].fd, !strcmp(mode, "option"));
		}
	}
	printf("{\"event\": \"result\", \"received\": %lu, \"attributed\": %lu, \"wrong\": %lu, \"unnamed\": %lu, "
	       "\"empty\": %lu, \"asked\": %lu, \"sockets\": %d}\n",
	       received, attributed, wrong, unnamed, empty, asked, count - 1);
	return 0;
}
