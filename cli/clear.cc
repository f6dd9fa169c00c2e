// ledger clear: forgets records. Never what is in flight; what is in doubt only when told so.
#include <future>
#include <iostream>
#include <string>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "guard/operate.h"

namespace ledger::cli {
namespace {

constexpr std::size_t page_records = 500;

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

tl::expected<void, StoreError> clear_page(Store& store, const std::vector<Record>& records,
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
  const auto store = open_existing(options.store, options);
  if (!store) return store.error();
  // What a killed proxy left is in doubt, not in flight. How long it stays so is for the proxy that
  // knows the route to say; here it is kept.
  const Policy unknown;
  const auto settled =
      settle_orphans(**store, [&](const Record&) -> const Policy& { return unknown; });
  if (!settled) return refuse(settled.error().message);
  if (!options.yes) {
    const auto routes = (*store)->stats();
    if (!routes) return refuse(routes.error().message);
    const auto all = totals_of(*routes);
    const auto clearable = all.completed + all.released + (options.in_doubt ? all.in_doubt : 0);
    if (clearable > 0 && !asks_and_gets_yes(clearable)) return refuse("nothing was cleared");
  }
  Tally tally;
  auto query = newest(page_records);
  do {
    const auto page = (*store)->scan(query);
    if (!page) return refuse(page.error().message);
    const auto done = clear_page(**store, page->records, options.in_doubt, tally);
    if (!done) return refuse(done.error().message);
    query.cursor = page->next;
  } while (query.cursor != 0);
  report(tally, options.json);
  return fine;
}

}  // namespace ledger::cli
