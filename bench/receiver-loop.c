/*
 * What a datagram costs a UDP server, in nanoseconds of recvfrom and of sendto: an echo server and its
 * clients' proxy in one process. With a cgroup the server's socket belongs to it, and the proxy's do not;
 * each of these sends a UOA first, so that the server, if the receiver is at work there, sees clients. Prints
 * the median of the rounds. Usage: receiver-loop CGROUP|- ROUNDS CLIENTS
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define PAYLOAD 64

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static struct sockaddr_in at(const char *ip, int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };

	inet_pton(AF_INET, ip, &address.sin_addr);
	return address;
}

static int opened(struct sockaddr_in address)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 || bind(fd, (void *)&address, sizeof(address)))
		fail("bind");
	return fd;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	char data[2048] = { 0 };
	struct sockaddr_in service = at("127.0.0.1", 6000), from[BATCH];
	int rounds = atoi(argv[2]), clients = atoi(argv[3]), server, seen = 0;
	double *receiving = calloc(rounds, sizeof(double)), *sending = calloc(rounds, sizeof(double));
	int *proxies = calloc(clients, sizeof(int));

	if (argc != 4)
		return 2;
	for (int i = 0; i < clients; i++)
		proxies[i] = opened(at("127.0.0.2", 20000 + i));
	if (strcmp(argv[1], "-")) {
		char path[4096];
		FILE *file;

		snprintf(path, sizeof(path), "%s/cgroup.procs", argv[1]);
		file = fopen(path, "w");
		if (!file || fprintf(file, "%d", getpid()) < 0 || fclose(file))
			fail(path);
	}
	server = opened(service);
	for (int i = 0; i < clients; i++) {
		unsigned char option[8] = { 31, 8, 0x40, 0, 198, 51, i >> 8, i };

		if (setsockopt(proxies[i], IPPROTO_IP, IP_OPTIONS, option, sizeof(option)))
			fail("IP_OPTIONS");
		sendto(proxies[i], "uoa", 3, 0, (void *)&service, sizeof(service));
		recvfrom(server, data, sizeof(data), 0, NULL, NULL);
		if (setsockopt(proxies[i], IPPROTO_IP, IP_OPTIONS, NULL, 0))
			fail("IP_OPTIONS");
	}
	for (int round = 0; round < rounds; round++) {
		int first = round * BATCH % clients;
		double start, middle;

		for (int i = 0; i < BATCH; i++)
			sendto(proxies[(first + i) % clients], data, PAYLOAD, 0, (void *)&service, sizeof(service));
		start = now();
		for (int i = 0; i < BATCH; i++) {
			socklen_t length = sizeof(from[i]);

			if (recvfrom(server, data, sizeof(data), 0, (void *)&from[i], &length) != PAYLOAD)
				fail("recvfrom");
		}
		middle = now();
		for (int i = 0; i < BATCH; i++)
			if (sendto(server, data, PAYLOAD, 0, (void *)&from[i], sizeof(from[i])) != PAYLOAD)
				fail("sendto");
		sending[round] = (now() - middle) / BATCH;
		receiving[round] = (middle - start) / BATCH;
		for (int i = 0; i < BATCH; i++) {
			seen += from[i].sin_addr.s_addr != htonl(0x7f000002);
			recv(proxies[(first + i) % clients], data, sizeof(data), 0);
		}
	}
	qsort(receiving, rounds, sizeof(double), by_size);
	qsort(sending, rounds, sizeof(double), by_size);
	printf("{\"recvfrom\": %.0f, \"sendto\": %.0f, \"seen\": %d}\n", receiving[rounds / 2], sending[rounds / 2], seen);
	return 0;
}
