// The statements of the SQLite store over its tables, prepared once a connection.
//
// Every function belongs in a transaction of the caller's. Errors stick to the connection
// (store/sqlite_db.h): what is returned after one means nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "store/apply.h"
#include "store/owner_locks.h"
#include "store/sqlite_db.h"
#include "store/store.h"

namespace ledger::sqlite {

class Tables {
 public:
  explicit Tables(Connection& db);

  Connection& db() { return db_; }

  // --- transactions ----------------------------------------------------------------------------
  void begin_read() { begin_read_.run(); }
  void begin_write() { begin_write_.run(); }
  void commit() { commit_.run(); }

  // --- records ---------------------------------------------------------------------------------
  // The whole record.
  MaybeRecord find(const Digest& id);
  MaybeRecord find(std::int64_t seq);
  // What a swap must know of a record.
  struct Place {
    std::int64_t seq = 0;
    std::uint64_t version = 0;
    Counts counts;
    State state = State::in_flight;
  };
  std::optional<Place> locate(const Digest& id);
  // False: the id exists. seq becomes stamp.version.
  bool insert(const Digest& id, const Record& next, const Stamp& stamp);
  void update(std::int64_t seq, const Digest& id, const Record& next, const Stamp& stamp);
  void remove(std::int64_t seq);
  void add_counts(const Digest& id, const Counts& add);
  // seq of records that had expired by `now`, except those in flight.
  std::vector<std::int64_t> expired(Instant now, std::size_t limit);
  struct InFlight {
    std::int64_t seq = 0;
    Instant ownerless_at{};
    std::string owner;
  };
  // The records in flight, all of them: few, since each is a call that is being made.
  std::vector<InFlight> in_flight();

  // --- the store's own row ---------------------------------------------------------------------
  std::uint64_t version();
  void set_version(std::uint64_t version);
  std::string secret();

  // --- instances -------------------------------------------------------------------------------
  struct Instance {
    std::string name;
    std::int64_t slot = 0;
    Instant lease_until{};
  };
  std::optional<Instance> instance(const std::string& name);
  std::vector<Instance> instances();
  void add_instance(const Instance& instance, Instant started_at);
  // False: the lease had lapsed by `now`, or there is no such instance.
  bool renew(const std::string& name, Instant now, Instant until);
  void remove_instance(const std::string& name);
  bool owns_in_flight(const std::string& name);

 private:
  void put_parts(std::int64_t seq, const Record& next, bool existed);

  Connection& db_;
  Statement begin_read_, begin_write_, commit_;
  Statement find_, find_seq_, locate_, insert_, update_, delete_, add_counts_, expired_, in_flight_;
  Statement put_answer_, delete_answer_, put_request_, delete_request_;
  Statement version_, set_version_;
  Statement instance_, instances_, add_instance_, renew_, delete_instance_, owns_in_flight_;
};

// The columns of a record, for SELECTs that read_record() reads. `bodies` false: the answer's head
// alone, no stored request.
std::string select_records(bool bodies);
Record read_record(const Statement& row);
std::uint64_t read_seq(const Statement& row);

// Of a file of any version, whose other tables may not be as Tables has them.
std::vector<Tables::Instance> read_instances(Connection& db);

// Lease and OS lock stand.
bool is_alive(const Tables::Instance& instance, const OwnerLocks& locks, Instant now);
// What is there now, with its owner's life.
Found find_there(Tables& tables, const OwnerLocks& locks, const Digest& id, Instant now);

// A connection and its statements, closed in the right order.
struct Session {
  std::unique_ptr<Connection> db;
  std::unique_ptr<Tables> tables;
};

}  // namespace ledger::sqlite
