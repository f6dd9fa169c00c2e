/* Preloaded into the proxy by test_faults.py: the machine fails as the files in $LEDGER_FAULTS say.
   `full`: the disk is full. `sync`: fsync fails. `clock`: seconds by which the time of day is wrong. `dns`: no name can
   be looked up; otherwise every name below .example is 127.0.0.1. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *path_of(const char *fault, char *buffer, size_t size) {
  const char *folder = getenv("LEDGER_FAULTS");
  if (folder == NULL) return NULL;
  snprintf(buffer, size, "%s/%s", folder, fault);
  return buffer;
}

static int is_set(const char *fault) {
  char buffer[512];
  const int before = errno;
  const char *path = path_of(fault, buffer, sizeof buffer);
  const int set = path != NULL && access(path, F_OK) == 0;
  errno = before;
  return set;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fdatasync(int fd) {
  if (!is_set("sync")) return REAL(fdatasync)(fd);
  errno = EIO;
  return -1;
}

int fsync(int fd) {
  if (!is_set("sync")) return REAL(fsync)(fd);
  errno = EIO;
  return -1;
}

/* SQLite writes its files by pwrite64 alone, and nothing else of the proxy does. */
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  if (!is_set("full")) return REAL(pwrite64)(fd, data, size, at);
  errno = ENOSPC;
  return -1;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  static __typeof__(&clock_gettime) real;
  char buffer[512], text[32] = "";
  if (real == NULL) real = REAL(clock_gettime);
  const int result = real(clock, now);
  if (result != 0 || clock != CLOCK_REALTIME || path_of("clock", buffer, sizeof buffer) == NULL) return result;
  const int before = errno;
  const int fd = open(buffer, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    if (read(fd, text, sizeof text - 1) > 0) now->tv_sec += atol(text);
    close(fd);
  }
  errno = before;
  return result;
}

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  if (is_set("dns")) return EAI_AGAIN;
  const size_t length = host ? strlen(host) : 0;
  if (length > 8 && strcmp(host + length - 8, ".example") == 0) host = "127.0.0.1";
  return REAL(getaddrinfo)(host, service, hints, found);
}
