// A UDP server that knows its clients behind uoa-proxy: it answers each datagram with its client's address.
// cc -O2 -o server server.c; usage: server IP PORT    (IP may be :: on a host with one address of each family)
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { RECVDSTOPTS = 58, DSTOPTS = 59 }; // linux/in6.h; in netinet/in.h with _GNU_SOURCE only

struct client {
  struct sockaddr_in6 source; // LIP:lport, IPv4 as ::ffff:a.b.c.d
  char name[64];
  struct client *next;
};
static struct client *clients[1 << 16]; // by lport; never more than the proxy has lports

static void name_of(char *name, size_t size, int is_ipv6, const void *ip, int port) {
  char text[INET6_ADDRSTRLEN];
  inet_ntop(is_ipv6 ? AF_INET6 : AF_INET, ip, text, sizeof(text));
  snprintf(name, size, is_ipv6 ? "[%s]:%d" : "%s:%d", text, port);
}

// The client in the first UOA (option 31, 30). The lengths of IPv4's options count type and length, too.
static int client_in(char *name, size_t size, const unsigned char *options, int len, int is_ipv4) {
  for (int at = 0; at + 1 < len;) {
    const unsigned char *option = options + at;
    if (option[0] <= is_ipv4) { // padding of one byte: 0 in both families, 1 in IPv4
      at++;
      continue;
    }
    int content = option[1] - (is_ipv4 ? 2 : 0), off = at + 2;
    if (content < 0 || off + content > len) return 0;
    at = off + content;
    if (option[0] != 31 && option[0] != 30) continue;
    if (content == 14 || content == 38) off += 2, content -= 2; // unified over IPv4 begins with an operation
    int port = options[off] << 8 | options[off + 1];
    if (content == 6 || content == 18) name_of(name, size, content == 18, options + off + 2, port);
    else if (content == 12 || content == 36) name_of(name, size, content == 36, options + off + 4, port); // unified: vport is between
    else continue;
    return 1;
  }
  return 0;
}

static struct client *client_of(const struct sockaddr_in6 *source) {
  struct client **list = &clients[ntohs(source->sin6_port)], *one = *list;
  while (one && memcmp(&one->source.sin6_addr, &source->sin6_addr, 16)) one = one->next;
  if (one) return one;
  one = calloc(1, sizeof(*one));
  one->source = *source;
  one->next = *list;
  // Who is not known yet, as after a restart of this server, goes by LIP:lport until the proxy tells again.
  int is_mapped = IN6_IS_ADDR_V4MAPPED(&source->sin6_addr);
  name_of(one->name, sizeof(one->name), !is_mapped, source->sin6_addr.s6_addr + (is_mapped ? 12 : 0), ntohs(source->sin6_port));
  return *list = one;
}

int main(int argc, char **argv) {
  static char payload[65536 + 64], control[512];
  int on = 1, off = 0;
  struct addrinfo *at, hints = {.ai_family = AF_INET6, .ai_socktype = SOCK_DGRAM, .ai_flags = AI_V4MAPPED | AI_NUMERICHOST};
  // An IPv6 socket for both families: IPv4 comes as ::ffff:a.b.c.d, with its options.
  if (argc != 3 || getaddrinfo(argv[1], argv[2], &hints, &at)) return fprintf(stderr, "usage: server IP PORT\n"), 2;
  int fd = socket(AF_INET6, SOCK_DGRAM, 0);
  setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  setsockopt(fd, IPPROTO_IP, IP_RECVOPTS, &on, sizeof(on));
  setsockopt(fd, IPPROTO_IPV6, RECVDSTOPTS, &on, sizeof(on));
  if (bind(fd, at->ai_addr, at->ai_addrlen)) return perror("bind"), 1;
  puts("ready");
  fflush(stdout);
  for (;;) {
    struct sockaddr_in6 source = {0};
    struct iovec data = {payload + 64, sizeof(payload) - 64};
    struct msghdr message = {.msg_name = &source, .msg_namelen = sizeof(source), .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    ssize_t len = recvmsg(fd, &message, 0);
    if (len < 0) continue;
    struct client *client = client_of(&source);
    int is_told = 0;
    for (struct cmsghdr *one = CMSG_FIRSTHDR(&message); one; one = CMSG_NXTHDR(&message, one)) {
      const unsigned char *options = CMSG_DATA(one);
      int size = one->cmsg_len - CMSG_LEN(0);
      if (one->cmsg_level == IPPROTO_IP && one->cmsg_type == IP_RECVOPTS) is_told |= client_in(client->name, sizeof(client->name), options, size, 1);
      if (one->cmsg_level == IPPROTO_IPV6 && one->cmsg_type == DSTOPTS) is_told |= client_in(client->name, sizeof(client->name), options + 2, size - 2, 0);
    }
    if (is_told && len == 0) continue; // a carrier: it was only for the UOA
    char *answer = payload + 64 - strlen(client->name) - 1;
    memcpy(answer, client->name, strlen(client->name));
    payload[63] = ' ';
    sendto(fd, answer, payload + 64 + len - answer, 0, (struct sockaddr *)&source, message.msg_namelen);
  }
}
