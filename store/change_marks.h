// Tells every process on a store, without a system call, that a record may have changed: one page
// of sequence counters (seqlocks) in the file of owner locks, which all of them map.
//
// A counter serves many ids. Who is about to commit a change of a record moves its counter to a new
// odd number, and to the even one after it once the commit is done; a process that dies in between
// leaves it odd until the next change. What was read under an even number is current while the
// counter stands there. (Boehm, "Can seqlocks get along with programming language memory models?",
// 2012.)
//
// Threads: any may look; changes are announced under the store's write lock alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "fingerprint/digest.h"

namespace ledger {

class ChangeMarks {
 public:
  // Makes the file where there is none. nullptr: it cannot be shared, and nothing may be
  // remembered.
  static std::unique_ptr<ChangeMarks> open(const std::string& path);
  ~ChangeMarks();
  ChangeMarks(const ChangeMarks&) = delete;
  ChangeMarks& operator=(const ChangeMarks&) = delete;

  std::uint64_t of(const Digest& id) const { return at(id).load(); }
  static bool steady(std::uint64_t mark) { return mark % 2 == 0; }

  // Returns the ticket to give to changed().
  std::uint64_t changing(const Digest& id);
  // Does nothing where somebody else is changing an id of that counter meanwhile.
  void changed(const Digest& id, std::uint64_t ticket) {
    at(id).compare_exchange_strong(ticket, ticket + 1);
  }

  // Is the page still that of the file that the path names? Else others do not see what is marked.
  bool in_place() const;

 private:
  using Mark = std::atomic<std::uint64_t>;
  static_assert(Mark::is_always_lock_free);
  static constexpr std::size_t count = 512;

  ChangeMarks(std::string path, int fd, Mark* page)
      : path_(std::move(path)), fd_(fd), page_(page) {}
  Mark& at(const Digest& id) const { return page_[(id[28] * 256u + id[29]) % count]; }

  const std::string path_;
  const int fd_;
  Mark* const page_;
};

}  // namespace ledger
