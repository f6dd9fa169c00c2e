#include "store/owner_locks.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace ledger {
namespace {

struct flock byte_lock(short type, std::int64_t slot) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = slot;
  lock.l_len = 1;
  return lock;
}

}  // namespace

bool same_file(int fd, const std::string& path) {
  struct stat opened {
  }, named{};
  return fd >= 0 && fstat(fd, &opened) == 0 && stat(path.c_str(), &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

OwnerLocks::~OwnerLocks() {
  if (locking_ >= 0) close(locking_);
  if (looking_ >= 0) close(looking_);
}

tl::expected<void, std::string> OwnerLocks::lock(std::int64_t slot) {
  std::lock_guard guard(mutex_);
  const auto failed = [&](const char* what) {
    return tl::unexpected(std::string("cannot ") + what + " the store's lock file " + path_ + ": " +
                          std::strerror(errno));
  };
  if (!same_file(locking_, path_)) {
    // A description whose file is gone holds locks that nobody sees; its instances are dead.
    if (locking_ >= 0) close(locking_);
    locking_ = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (locking_ < 0) return failed("open");
  }
  auto request = byte_lock(F_WRLCK, slot);
  if (fcntl(locking_, F_OFD_SETLK, &request) != 0) return failed("lock a byte of");
  return {};
}

void OwnerLocks::unlock(std::int64_t slot) {
  std::lock_guard guard(mutex_);
  auto request = byte_lock(F_UNLCK, slot);
  if (locking_ >= 0) fcntl(locking_, F_OFD_SETLK, &request);
}

bool OwnerLocks::held(std::int64_t slot) const {
  std::lock_guard guard(mutex_);
  if (!same_file(looking_, path_)) {
    if (looking_ >= 0) close(looking_);
    // Asking needs no right to write: a look from the command line may have none.
    looking_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (looking_ < 0) return false;
  }
  auto request = byte_lock(F_WRLCK, slot);
  return fcntl(looking_, F_OFD_GETLK, &request) == 0 && request.l_type != F_UNLCK;
}

}  // namespace ledger
