// Which records a person asks for, and what is read of them.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <unordered_map>

#include "cli/commands.h"
#include "store/store.h"

namespace ledger::cli {

// --route --agent --run --state --since, understood.
class Filter {
 public:
  Filter() = default;
  // Error: one sentence that says what is accepted.
  static tl::expected<Filter, std::string> from(const Filters& asked, Instant now);

  bool takes(const Record& record) const;
  bool any() const { return state_ || route_ || agent_ || run_ || since_; }
  bool names_a_time() const { return since_.has_value(); }
  // What of it the store can sort out by itself. `as_stored`: no state is seen otherwise than
  // stored.
  Query query(std::size_t limit, bool as_stored = true) const;
  // Records come newest first: is this one older than all that are asked for?
  bool too_old(const Record& record) const { return since_ && record.updated_at < *since_; }

 private:
  std::optional<State> state_;
  std::optional<std::string> route_, agent_, run_;
  std::optional<Instant> since_;
};

// An existing store, and what is asked of it. The error is the exit code, and was printed.
struct Looked {
  std::unique_ptr<Store> store;
  Filter filter;
};
tl::expected<Looked, int> look(const LookOptions& options);

// `2026-05-01T10:00:00Z`, also with a fraction and an offset (RFC 3339).
std::optional<Instant> from_rfc3339(std::string_view text);

// What dead proxies left in flight, in doubt as the next proxy will find it.
std::unordered_map<Digest, Record> left_behind(Store& store);

// The newest `limit` records.
Query newest(std::size_t limit);
// The records that `filter` takes, newest first, until `each` returns false. Answers come without
// bodies. What dead proxies left behind is shown so; nothing is written.
tl::expected<void, StoreError> each_record(Store& store, const Filter& filter,
                                           const std::function<bool(Record&)>& each);

// One record: as it is stored, or in doubt where its proxy is dead.
tl::expected<MaybeRecord, StoreError> record_as_it_stands(Store& store, const Digest& id);

// Why there is nothing to show, for a terminal.
std::string nothing_found(const Filter& filter);

// The only record whose id begins with `prefix` (see is_id_prefix). The error is the exit code.
tl::expected<Digest, int> find_id(Store& store, const std::string& prefix);

// `ledger NAME ID`, which finds the same store again.
std::string command_for(const std::string& name_and_id, const StoreOptions& options);

}  // namespace ledger::cli
