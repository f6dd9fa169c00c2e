#include "store/sqlite_vfs.h"

#include <sqlite3.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <new>

namespace ledger::sqlite {
namespace {

// With one page more it is still less than 128 KiB, which is the longest write of the system's VFS.
constexpr std::size_t gathered_max = std::size_t{120} << 10;

// A log. The file of the VFS below follows it in memory, as SQLite allots it.
struct Log : sqlite3_file {
  std::string gathered;
  sqlite3_int64 offset = 0;  // of what was gathered
  bool committing = false;   // the frame that is being written is its transaction's last

  sqlite3_file* below() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};
static_assert(alignof(Log) == 8 && sizeof(Log) % 8 == 0);  // SQLite's own alignment

Log& log_of(sqlite3_file* file) { return *static_cast<Log*>(file); }

int send_out(Log& log) {
  sqlite3_file* below = log.below();
  const int code = below->pMethods->xWrite(below, log.gathered.data(),
                                           static_cast<int>(log.gathered.size()), log.offset);
  log.gathered.clear();
  return code;
}

int write(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
  Log& log = log_of(file);
  const auto* bytes = static_cast<const unsigned char*>(data);
  const bool header = size == frame_header_bytes;
  if (log.gathered.empty()) {
    if (!header) return log.below()->pMethods->xWrite(log.below(), data, size, offset);
    log.offset = offset;
  } else if (offset != log.offset + static_cast<sqlite3_int64>(log.gathered.size())) {
    log.gathered.clear();  // not how SQLite writes a transaction: it fails, nothing is guessed
    return SQLITE_IOERR_WRITE;
  }
  if (header) log.committing = std::any_of(bytes + 4, bytes + 8, [](auto b) { return b != 0; });
  log.gathered.append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
  if (header || (!log.committing && log.gathered.size() < gathered_max)) return SQLITE_OK;
  return send_out(log);
}

int sync(sqlite3_file* file, int flags) {
  Log& log = log_of(file);
  if (!log.gathered.empty()) return SQLITE_IOERR_FSYNC;
  return log.below()->pMethods->xSync(log.below(), flags);
}

int close(sqlite3_file* file) {
  Log& log = log_of(file);
  const int code = log.below()->pMethods->xClose(log.below());
  log.~Log();
  return code;
}

// All other methods go to the file below.
template <auto method>
struct Below;
template <class... Args, int (*sqlite3_io_methods::*method)(sqlite3_file*, Args...)>
struct Below<method> {
  static int call(sqlite3_file* file, Args... args) {
    sqlite3_file* below = log_of(file).below();
    return (below->pMethods->*method)(below, args...);
  }
};

const sqlite3_io_methods* log_methods() {
  static const sqlite3_io_methods methods = [] {
    using M = sqlite3_io_methods;
    M log{};
    log.iVersion = 1;  // shared memory and memory maps belong to the database's file
    log.xClose = close;
    log.xRead = Below<&M::xRead>::call;
    log.xWrite = write;
    log.xTruncate = Below<&M::xTruncate>::call;
    log.xSync = sync;
    log.xFileSize = Below<&M::xFileSize>::call;
    log.xLock = Below<&M::xLock>::call;
    log.xUnlock = Below<&M::xUnlock>::call;
    log.xCheckReservedLock = Below<&M::xCheckReservedLock>::call;
    log.xFileControl = Below<&M::xFileControl>::call;
    log.xSectorSize = Below<&M::xSectorSize>::call;
    log.xDeviceCharacteristics = Below<&M::xDeviceCharacteristics>::call;
    return log;
  }();
  return &methods;
}

int open(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags, int* out) {
  auto* base = static_cast<sqlite3_vfs*>(vfs->pAppData);
  if (!(flags & SQLITE_OPEN_WAL)) return base->xOpen(base, path, file, flags, out);
  auto* log = new (file) Log{};
  log->below()->pMethods = nullptr;
  const int code = base->xOpen(base, path, log->below(), flags, out);
  if (code == SQLITE_OK) {
    log->pMethods = log_methods();
  } else {
    if (log->below()->pMethods) log->below()->pMethods->xClose(log->below());
    log->~Log();
    file->pMethods = nullptr;  // nothing for SQLite to close
  }
  return code;
}

struct Registered {
  std::string name;
  sqlite3_vfs vfs;
};

}  // namespace

const char* gathering_vfs(const std::string& base) {
  static std::mutex mutex;
  static std::map<std::string, std::unique_ptr<Registered>> all;
  std::lock_guard guard(mutex);
  auto& [below_name, one] = *all.try_emplace(base).first;
  if (one) return one->name.c_str();
  sqlite3_vfs* below = sqlite3_vfs_find(base.empty() ? nullptr : base.c_str());
  if (!below) return below_name.c_str();
  one = std::make_unique<Registered>(Registered{"ledger over " + base, *below});
  one->vfs.zName = one->name.c_str();
  one->vfs.pNext = nullptr;
  one->vfs.pAppData = below;
  one->vfs.szOsFile = static_cast<int>(sizeof(Log)) + below->szOsFile;
  one->vfs.xOpen = open;
  sqlite3_vfs_register(&one->vfs, 0);
  return one->name.c_str();
}

}  // namespace ledger::sqlite
