// What a person does to records, the same from the admin endpoint and the command line. Blocking.
#pragma once

#include <functional>
#include <string>
#include <tl/expected.hpp>

#include "guard/decide.h"
#include "store/store.h"

namespace ledger {

struct OperateError {
  enum class Kind : std::uint8_t { not_found, conflict, store } kind;
  std::string message;  // one sentence: what is the case, and what to do
};

// Settles an in-doubt record (decide: Resolved). conflict: it is not in doubt.
tl::expected<Record, OperateError> resolve_record(Store& store, const Digest& id,
                                                  const Resolved& resolved);
// Forgets a record; gives what was forgotten. conflict: it is in flight.
tl::expected<Record, OperateError> delete_record(Store& store, const Digest& id);

// Makes in_doubt what nobody is left to settle, some at a time; `policy_of` gives the policy that a
// record was made under. A proxy does it all the while, the command line before it looks.
tl::expected<void, StoreError> settle_orphans(
    Store& store, const std::function<const Policy&(const Record&)>& policy_of,
    const std::function<void(const Record&)>& doubted = {});

// Waits until the calls that were counted so far are to be seen, so that who looks right after a
// call finds it. Not for long: counts are also kept while they cannot be written.
void await_counts(Store& store);

// load() and replace(), waited for.
tl::expected<Found, StoreError> load_now(Store& store, const Digest& id);
tl::expected<Replaced, StoreError> replace_now(Store& store, Replace write);

}  // namespace ledger
