#include "store/sqlite_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace ledger::sqlite {
namespace {

constexpr const char* beside[] = {"", "-wal", "-shm", "-journal", ".owners"};
constexpr mode_t others = 077;

std::string in_octal(mode_t mode) {
  char text[8];
  std::snprintf(text, sizeof text, "%04o", static_cast<unsigned>(mode & 07777));
  return text;
}

tl::unexpected<StoreError> refuse(const std::string& file, uid_t owner) {
  return tl::unexpected(StoreError{file + " belongs to another user (uid " + std::to_string(owner) +
                                       "), who could read and change the store: chown it to this "
                                       "user, or name another place",
                                   false});
}

}  // namespace

tl::expected<void, StoreError> check_owners(const std::string& path, const std::string& file) {
  struct stat info {};
  const auto strange = [&](const std::string& name) {
    return ::lstat(name.c_str(), &info) == 0 && info.st_uid != ::geteuid() && info.st_uid != 0;
  };
  if (strange(path)) return refuse(path, info.st_uid);
  for (const auto* suffix : beside)
    if (strange(file + suffix)) return refuse(file + suffix, info.st_uid);
  return {};
}

std::vector<std::string> tighten_files(const std::string& file) {
  std::vector<std::string> notices;
  for (const auto* suffix : beside) {
    const auto name = file + suffix;
    struct stat info {};
    if (::lstat(name.c_str(), &info) != 0) continue;
    if (!S_ISREG(info.st_mode) || (info.st_mode & others) == 0) continue;
    const mode_t mode = info.st_mode & 0700;
    // Not by a descriptor: closing one would drop SQLite's locks.
    const bool made = ::fchmodat(AT_FDCWD, name.c_str(), mode, AT_SYMLINK_NOFOLLOW) == 0;
    const std::string failure = made ? "" : std::strerror(errno);
    notices.push_back(name + " could be used by others (mode " + in_octal(info.st_mode) + "): " +
                      (made ? "made " + in_octal(mode) : "cannot make it 0600: " + failure));
  }
  return notices;
}

}  // namespace ledger::sqlite
