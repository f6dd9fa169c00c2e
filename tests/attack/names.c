/* Preloaded into the proxy: the names of $LEDGER_NAMES ("a.example=127.0.0.1 b.example=::1,10.0.0.1") have these
   addresses, in this order; others are looked up. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int (*look_up)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  const look_up real = (look_up)dlsym(RTLD_NEXT, "getaddrinfo");
  const char *names = getenv("LEDGER_NAMES");
  char wanted[300], list[300];
  if (names == NULL || name == NULL || strlen(name) > 250) return real(name, service, hints, found);
  snprintf(wanted, sizeof wanted, " %s=", name);
  char all[2000];
  snprintf(all, sizeof all, " %s", names);
  const char *at = strstr(all, wanted);
  if (at == NULL) return real(name, service, hints, found);
  snprintf(list, sizeof list, "%.*s", (int)strcspn(at + strlen(wanted), " "), at + strlen(wanted));
  struct addrinfo numeric = {0}, **end = found;
  numeric.ai_socktype = SOCK_STREAM;
  numeric.ai_flags = AI_NUMERICHOST;
  *found = NULL;
  char *rest = NULL;
  for (char *one = strtok_r(list, ",", &rest); one != NULL; one = strtok_r(NULL, ",", &rest)) {
    const int failed = real(one, service, &numeric, end);
    if (failed != 0) return failed;
    while (*end != NULL) end = &(*end)->ai_next; /* freeaddrinfo goes along the list */
  }
  return 0;
}
