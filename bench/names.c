/* Preloaded into the proxy by bench/run: every name below .bench.example is 127.0.0.1, so that fresh hosts need no DNS server. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>

typedef int (*look_up)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  static const char ours[] = ".bench.example";
  const look_up real = (look_up)dlsym(RTLD_NEXT, "getaddrinfo");
  const size_t length = name ? strlen(name) : 0;
  if (length > sizeof ours && strcmp(name + length - (sizeof ours - 1), ours) == 0) name = "127.0.0.1";
  return real(name, service, hints, found);
}
