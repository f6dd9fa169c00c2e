// A SQLite VFS over the system's whose write-ahead log can be made to fail or to wait, for tests of
// the store on a bad disk. Name it in SqliteOptions::vfs; one in the process, call reset() first.
#pragma once

#include <sqlite3.h>

#include <atomic>
#include <condition_variable>
#include <mutex>

namespace ledger::test {

class FaultVfs {
 public:
  static constexpr const char* name = "ledger-fault";

  static FaultVfs& get() {
    static FaultVfs vfs;
    return vfs;
  }

  void reset() {
    fail_log_writes = fail_log_syncs = SQLITE_OK;
    log_writes = 0;
    hold_syncs(false);
  }

  // What writes to and syncs of the log answer: SQLITE_OK or an error.
  std::atomic<int> fail_log_writes{SQLITE_OK};
  std::atomic<int> fail_log_syncs{SQLITE_OK};
  std::atomic<int> log_writes{0};  // that succeeded

  // While held, a sync of the log does not return.
  void hold_syncs(bool hold) {
    std::lock_guard guard(mutex_);
    hold_ = hold;
    changed_.notify_all();
  }
  void wait_until_a_sync_is_held() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ > 0; });
  }

 private:
  struct File {
    sqlite3_file base;
    bool is_log;
    sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
  };
  static File* self(sqlite3_file* file) { return reinterpret_cast<File*>(file); }
  static sqlite3_file* real(sqlite3_file* file) { return self(file)->real(); }

  FaultVfs() {
    sqlite3_vfs* system = sqlite3_vfs_find(nullptr);
    vfs_ = *system;
    vfs_.zName = name;
    vfs_.pNext = nullptr;
    vfs_.pAppData = system;
    vfs_.szOsFile = static_cast<int>(sizeof(File)) + system->szOsFile;
    vfs_.xOpen = [](sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags, int* out) {
      auto* base = static_cast<sqlite3_vfs*>(vfs->pAppData);
      self(file)->base.pMethods = nullptr;
      self(file)->is_log = (flags & SQLITE_OPEN_WAL) != 0;
      const int code = base->xOpen(base, path, real(file), flags, out);
      if (code == SQLITE_OK) file->pMethods = &get().methods_;
      return code;
    };
    set_methods();
    sqlite3_vfs_register(&vfs_, 0);
  }

  void set_methods() {
    methods_.iVersion = 2;  // with the log's shared memory, without memory maps
    methods_.xClose = [](sqlite3_file* f) { return real(f)->pMethods->xClose(real(f)); };
    methods_.xRead = [](sqlite3_file* f, void* to, int size, sqlite3_int64 at) {
      return real(f)->pMethods->xRead(real(f), to, size, at);
    };
    methods_.xWrite = [](sqlite3_file* f, const void* from, int size, sqlite3_int64 at) {
      const int fault = self(f)->is_log ? get().fail_log_writes.load() : SQLITE_OK;
      if (fault) return fault;
      if (self(f)->is_log) ++get().log_writes;
      return real(f)->pMethods->xWrite(real(f), from, size, at);
    };
    methods_.xTruncate = [](sqlite3_file* f, sqlite3_int64 size) {
      return real(f)->pMethods->xTruncate(real(f), size);
    };
    methods_.xSync = [](sqlite3_file* f, int flags) {
      if (self(f)->is_log)
        if (const int fault = get().sync_of_log()) return fault;
      return real(f)->pMethods->xSync(real(f), flags);
    };
    methods_.xFileSize = [](sqlite3_file* f, sqlite3_int64* size) {
      return real(f)->pMethods->xFileSize(real(f), size);
    };
    methods_.xLock = [](sqlite3_file* f, int how) {
      return real(f)->pMethods->xLock(real(f), how);
    };
    methods_.xUnlock = [](sqlite3_file* f, int how) {
      return real(f)->pMethods->xUnlock(real(f), how);
    };
    methods_.xCheckReservedLock = [](sqlite3_file* f, int* out) {
      return real(f)->pMethods->xCheckReservedLock(real(f), out);
    };
    methods_.xFileControl = [](sqlite3_file* f, int op, void* arg) {
      return real(f)->pMethods->xFileControl(real(f), op, arg);
    };
    methods_.xSectorSize = [](sqlite3_file* f) { return real(f)->pMethods->xSectorSize(real(f)); };
    methods_.xDeviceCharacteristics = [](sqlite3_file* f) {
      return real(f)->pMethods->xDeviceCharacteristics(real(f));
    };
    methods_.xShmMap = [](sqlite3_file* f, int page, int size, int extend, void volatile** out) {
      return real(f)->pMethods->xShmMap(real(f), page, size, extend, out);
    };
    methods_.xShmLock = [](sqlite3_file* f, int offset, int n, int flags) {
      return real(f)->pMethods->xShmLock(real(f), offset, n, flags);
    };
    methods_.xShmBarrier = [](sqlite3_file* f) { real(f)->pMethods->xShmBarrier(real(f)); };
    methods_.xShmUnmap = [](sqlite3_file* f, int remove) {
      return real(f)->pMethods->xShmUnmap(real(f), remove);
    };
  }

  int sync_of_log() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    if (hold_) changed_.notify_all();
    changed_.wait(lock, [&] { return !hold_; });
    --waiting_;
    return fail_log_syncs;
  }

  sqlite3_vfs vfs_{};
  sqlite3_io_methods methods_{};

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool hold_ = false;
  int waiting_ = 0;
};

}  // namespace ledger::test
