// ledger clear: forgets records. Never what is in flight; what is in doubt only when told so.
#include <future>
#include <iostream>
#include <string>

#include "cli/records.h"
#include "cli/terminal.h"
#include "guard/operate.h"

namespace ledger::cli {
namespace {

constexpr std::size_t batch_records = 500;

struct Tally {
  std::uint64_t cleared = 0, in_flight = 0, in_doubt = 0, changed = 0;
  std::uint64_t kept() const { return in_flight + in_doubt + changed; }
};

bool asks_and_gets_yes(std::uint64_t records) {
  std::cerr << "Forget " << counted(records, "record")
            << "? A repeat of such a call is then sent again. [y/N] " << std::flush;
  std::string reply;
  std::getline(std::cin, reply);
  return reply == "y" || reply == "Y" || reply == "yes";
}

tl::expected<std::uint64_t, StoreError> clearable(const Looked& looked, bool in_doubt) {
  std::uint64_t n = 0;
  const auto scanned = each_record(*looked.store, looked.filter, [&](const Record& record) {
    n += record.state != State::in_flight && (in_doubt || record.state != State::in_doubt);
    return true;
  });
  if (!scanned) return tl::unexpected(scanned.error());
  return n;
}

using Deleted = tl::expected<Replaced, StoreError>;

// Deletes this very version, so that a call that comes in between keeps its record.
std::future<Deleted> begin_delete(Store& store, const Record& record) {
  auto promise = std::make_shared<std::promise<Deleted>>();
  Replace write;
  write.id = record.id;
  write.expected_version = record.version;
  store.replace(std::move(write), [promise](Deleted done) { promise->set_value(std::move(done)); });
  return promise->get_future();
}

tl::expected<void, StoreError> clear_batch(Store& store, const std::vector<Record>& records,
                                           bool in_doubt, Tally& tally) {
  std::vector<std::future<Deleted>> deletes;  // together: the store commits them in few batches
  for (const auto& record : records) {
    if (record.state == State::in_flight)
      ++tally.in_flight;
    else if (record.state == State::in_doubt && !in_doubt)
      ++tally.in_doubt;
    else
      deletes.push_back(begin_delete(store, record));
  }
  tl::expected<void, StoreError> result;
  for (auto& each : deletes) {
    const auto done = each.get();
    if (!done)
      result = tl::unexpected(done.error());
    else
      ++(done->swapped || !done->found.record ? tally.cleared : tally.changed);
  }
  return result;
}

void report(const Tally& tally, bool json) {
  if (json) {
    print_json({{"cleared", tally.cleared},
                {"kept", tally.kept()},
                {"in_flight", tally.in_flight},
                {"in_doubt", tally.in_doubt}});
    return;
  }
  std::cout << "cleared " << tally.cleared << ", kept " << tally.kept();
  std::string why;
  const auto add = [&](std::uint64_t n, const char* what) {
    if (n > 0) why += (why.empty() ? "" : ", ") + std::to_string(n) + what;
  };
  add(tally.in_flight, " in flight");
  add(tally.in_doubt, " in doubt");
  add(tally.changed, " changed meanwhile");
  std::cout << (why.empty() ? "" : " (" + why + ")") << '\n';
}

}  // namespace

int clear(const ClearOptions& options) {
  if (!options.yes && !is_terminal(0))
    return refuse("clear forgets records: add --yes where nobody can be asked", usage);
  const auto looked = look(options);
  if (!looked) return looked.error();
  auto& store = *looked->store;
  // What a killed proxy left is in doubt, not in flight. How long it stays so is for the proxy that
  // knows the route to say; here it is kept.
  const Policy unknown;
  const auto settled =
      settle_orphans(store, [&](const Record&) -> const Policy& { return unknown; });
  if (!settled) return refuse(settled.error().message);
  if (!options.yes) {
    const auto n = clearable(*looked, options.in_doubt);
    if (!n) return refuse(n.error().message);
    if (*n > 0 && !asks_and_gets_yes(*n)) return refuse("nothing was cleared");
  }
  Tally tally;
  std::vector<Record> batch;
  tl::expected<void, StoreError> cleared;
  const auto clear_it = [&] {
    cleared = clear_batch(store, batch, options.in_doubt, tally);
    batch.clear();
    return cleared.has_value();
  };
  const auto scanned = each_record(store, looked->filter, [&](Record& record) {
    batch.push_back(std::move(record));
    return batch.size() < batch_records || clear_it();
  });
  if (!scanned) return refuse(scanned.error().message);
  if (!cleared || !clear_it()) return refuse(cleared.error().message);
  report(tally, options.json);
  return fine;
}

}  // namespace ledger::cli
