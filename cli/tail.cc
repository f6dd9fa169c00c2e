// ledger tail: records as they change, until it is told to stop.
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <iostream>
#include <tuple>
#include <unordered_map>

#include "cli/records.h"
#include "cli/rows.h"

namespace ledger::cli {
namespace {

constexpr auto interval = std::chrono::milliseconds(200);
// Repeats that execute nothing leave a record's version as it is; they are seen by comparing the
// counts of the newest records.
constexpr std::size_t watched = 200;
constexpr std::size_t shown_first = 10;

// SIGINT and SIGTERM are waited for; SIGPIPE becomes a failed write. The store's threads inherit
// it.
sigset_t take_signals() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return set;
}

bool told_to_stop(const sigset_t& set) {
  const timespec wait{0, std::chrono::nanoseconds(interval).count()};
  return sigtimedwait(&set, nullptr, &wait) > 0;
}

// Nobody reads any more: the pipe's other end, or the terminal, is gone.
bool reader_left() {
  pollfd out{1, 0, 0};
  return poll(&out, 1, 0) > 0 && (out.revents & (POLLERR | POLLHUP)) != 0;
}

std::string clock_time(Instant at) {
  const auto seconds = std::chrono::system_clock::to_time_t(at);
  std::tm parts{};
  localtime_r(&seconds, &parts);
  char text[16];
  std::strftime(text, sizeof text, "%H:%M:%S", &parts);
  return text;
}

struct Shown {
  Record record;
  Instant at;  // when it changed, or was seen to be asked for again
};

// How often this key was asked for, by whatever call.
std::uint64_t asked_for(const Record& record) {
  return record.counts.attempts + record.counts.mismatched;
}

class Tail {
 public:
  Tail(const Looked& looked, bool json)
      : store_(*looked.store), filter_(looked.filter), json_(json), colour_(shows_colour(1)) {}

  // The latest records, so that the screen is not empty.
  tl::expected<void, StoreError> begin() {
    auto page = store_.scan(filter_.query(watched));
    if (!page) return tl::unexpected(page.error());
    seen_ = page->version;
    for (const auto& record : page->records) asked_[record.id] = asked_for(record);
    std::vector<Shown> latest;
    for (auto& record : page->records)
      if (latest.size() < (filter_.names_a_time() ? watched : shown_first) && filter_.takes(record))
        add(latest, std::move(record));
    put(latest);
    return {};
  }

  tl::expected<void, StoreError> poll() {
    std::vector<Shown> changed;
    if (auto done = find_changed(changed); !done) return done;
    if (auto done = find_repeated(changed); !done) return done;
    put(changed);
    return {};
  }

 private:
  static void add(std::vector<Shown>& shown, Record record) {
    const auto at = record.updated_at;
    shown.push_back({std::move(record), at});
  }

  // Follows the pages to the end; next time, what changed since the first of them.
  tl::expected<void, StoreError> find_changed(std::vector<Shown>& changed) {
    auto query = filter_.query(1000);
    query.changed_since = seen_;
    do {
      auto page = store_.scan(query);
      if (!page) return tl::unexpected(page.error());
      if (query.cursor == 0) seen_ = page->version;
      for (auto& record : page->records)
        if (filter_.takes(record)) add(changed, std::move(record));
      query.cursor = page->next;
    } while (query.cursor != 0);
    return {};
  }

  tl::expected<void, StoreError> find_repeated(std::vector<Shown>& changed) {
    std::unordered_map<Digest, std::uint64_t> asked;
    auto page = store_.scan(filter_.query(watched));
    if (!page) return tl::unexpected(page.error());
    for (auto& record : page->records) {
      if (!filter_.takes(record)) continue;
      asked[record.id] = asked_for(record);
      const auto known = asked_.find(record.id);
      const bool repeated = known != asked_.end() && known->second != asked_for(record);
      const auto same = std::find_if(changed.begin(), changed.end(), [&](const Shown& other) {
        return other.record.id == record.id;
      });
      if (same != changed.end())
        same->record = std::move(record);  // later, and no line twice
      else if (repeated)
        changed.push_back({std::move(record), store_.now()});
    }
    asked_ = std::move(asked);
    return {};
  }

  void put(std::vector<Shown>& shown) {
    std::sort(shown.begin(), shown.end(), [](const Shown& a, const Shown& b) {
      return std::tie(a.at, a.record.version) < std::tie(b.at, b.record.version);
    });
    std::vector<Row> rows;
    for (const auto& [record, at] : shown) {
      if (json_) {
        print_json(record_json(record, false));
        continue;
      }
      auto row = record_row(record);
      row.insert(row.begin(), Cell{clock_time(at), Style::dim});
      columns_.fit(row);
      rows.push_back(std::move(row));
    }
    for (const auto& row : rows) std::cout << columns_.line(row, colour_) << '\n';
    std::cout.flush();
  }

  Store& store_;
  const Filter& filter_;
  const bool json_, colour_;
  Columns columns_;  // grow with what was shown
  std::uint64_t seen_ = 0;
  std::unordered_map<Digest, std::uint64_t> asked_;  // of the newest records
};

}  // namespace

int tail(const TailOptions& options) {
  const auto signals = take_signals();
  const auto looked = look(options);
  if (!looked) return looked.error();
  Tail tail(*looked, options.json);
  auto done = tail.begin();
  while (done && std::cout && !reader_left()) {
    if (told_to_stop(signals)) return fine;
    done = tail.poll();
  }
  if (!done) return refuse(done.error().message);
  std::cout.clear();  // the reader left: that is how a tail ends
  return fine;
}

}  // namespace ledger::cli
