#include "store/change_marks.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/owner_locks.h"

namespace ledger {
namespace {

constexpr std::size_t page_bytes = 4096;

}  // namespace

std::unique_ptr<ChangeMarks> ChangeMarks::open(const std::string& path) {
  static_assert(count * sizeof(Mark) == page_bytes);
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return nullptr;
  // Space that is promised here: a mapped page that finds the disk full would kill the process.
  if (posix_fallocate(fd, 0, page_bytes) == 0)
    if (void* page = mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        page != MAP_FAILED)
      return std::unique_ptr<ChangeMarks>(new ChangeMarks(path, fd, static_cast<Mark*>(page)));
  close(fd);
  return nullptr;
}

ChangeMarks::~ChangeMarks() {
  munmap(page_, page_bytes);
  close(fd_);
}

std::uint64_t ChangeMarks::changing(const Digest& id) {
  auto& mark = at(id);
  auto seen = mark.load();
  std::uint64_t ticket = 0;
  do {
    ticket = seen + (steady(seen) ? 1 : 2);
  } while (!mark.compare_exchange_weak(seen, ticket));
  return ticket;
}

bool ChangeMarks::in_place() const { return same_file(fd_, path_); }

}  // namespace ledger
