#include "cli/records.h"

#include <algorithm>
#include <cctype>

#include "cli/rows.h"
#include "config/values.h"
#include "guard/decide.h"
#include "guard/operate.h"

namespace ledger::cli {
namespace {

constexpr std::size_t page_records = 1000;
constexpr std::size_t orphans_max = 100'000;
constexpr DurationRange any_age{Duration(0), std::chrono::hours(24 * 36500)};

// `in-doubt`, as answers say it, is `in_doubt`.
tl::expected<State, std::string> state_word(std::string text) {
  const auto asked = text;
  std::replace(text.begin(), text.end(), '-', '_');
  if (const auto state = state_from(text)) return *state;
  std::vector<std::string_view> words;
  for (const auto state : {State::in_flight, State::completed, State::released, State::in_doubt})
    words.push_back(to_string(state));
  return tl::unexpected("--state takes in_flight, completed, released or in_doubt, not " +
                        code(asked) + did_you_mean(asked, words));
}

// Takes what `form` says off the head of `text`: a digit in it stands for a number of so many
// digits, anything else for itself.
bool take(std::string_view& text, std::string_view form, std::vector<int>& numbers) {
  for (const char c : form) {
    if (c < '1' || c > '9') {
      if (text.empty() || std::toupper(static_cast<unsigned char>(text.front())) != c) return false;
      text.remove_prefix(1);
      continue;
    }
    int n = 0;
    for (int i = c - '0'; i > 0; --i) {
      if (text.empty() || text.front() < '0' || text.front() > '9') return false;
      n = n * 10 + (text.front() - '0');
      text.remove_prefix(1);
    }
    numbers.push_back(n);
  }
  return true;
}

}  // namespace

std::optional<Instant> from_rfc3339(std::string_view text) {
  using namespace std::chrono;
  std::vector<int> n;  // year, month, day, hour, minute, second
  if (!take(text, "4-2-2T2:2:2", n) || n[3] > 23 || n[4] > 59 || n[5] > 60) return std::nullopt;
  const year_month_day date{year(n[0]), month(static_cast<unsigned>(n[1])),
                            day(static_cast<unsigned>(n[2]))};
  if (!date.ok()) return std::nullopt;
  auto at = Instant(sys_days(date)) + hours(n[3]) + minutes(n[4]) + seconds(n[5]);
  if (std::vector<int> digit; take(text, ".1", digit)) {
    int weight = 100;
    do at += milliseconds(digit.back() * weight);
    while (weight /= 10, take(text, "1", digit));
  }
  std::vector<int> offset;
  const bool utc = !text.empty() && std::toupper(static_cast<unsigned char>(text.front())) == 'Z';
  if (utc) {
    text.remove_prefix(1);
  } else {
    const bool west = text.starts_with('-');
    if (!take(text, west ? "-2:2" : "+2:2", offset) || offset[1] > 59) return std::nullopt;
    const auto east = hours(offset[0]) + minutes(offset[1]);
    at += west ? east : -east;
  }
  return text.empty() ? std::optional(at) : std::nullopt;
}

tl::expected<Filter, std::string> Filter::from(const Filters& asked, Instant now) {
  Filter filter;
  filter.route_ = asked.route;
  filter.agent_ = asked.agent;
  filter.run_ = asked.run;
  if (asked.state) {
    const auto state = state_word(*asked.state);
    if (!state) return tl::unexpected(state.error());
    filter.state_ = *state;
  }
  if (asked.since) {
    if (const auto age = parse_duration(*asked.since, any_age))
      filter.since_ = now - *age;
    else if (const auto instant = from_rfc3339(*asked.since))
      filter.since_ = *instant;
    else
      return tl::unexpected(
          "--since takes an age (10m, 2h, 7d) or a time (2026-05-01T10:00:00Z), not " +
          code(*asked.since));
  }
  return filter;
}

bool Filter::takes(const Record& record) const {
  const auto is = [](const std::optional<std::string>& wanted, const std::string& has) {
    return !wanted || *wanted == has;
  };
  // A call that no route names goes by the name that the log gives it.
  const bool route =
      is(route_, record.route) || (record.route.empty() && *route_ == name_of(record));
  return route && is(agent_, record.agent) && is(run_, record.run) &&
         (!state_ || *state_ == record.state) && !too_old(record);
}

Query Filter::query(std::size_t limit, bool as_stored) const {
  auto query = newest(limit);
  if (as_stored) query.state = state_;
  // Such a name has a space; so have names of routes that were made of their match.
  if (route_ && route_->find(' ') == route_->npos) query.route = route_;
  query.agent = agent_;
  return query;
}

tl::expected<Looked, int> look(const LookOptions& options) {
  // A mistake in what is asked for is told before the store is looked for.
  if (const auto filter = Filter::from(options.filters, Instant()); !filter)
    return tl::unexpected(refuse(filter.error(), usage));
  auto store = open_existing(options);
  if (!store) return tl::unexpected(store.error());
  auto filter = *Filter::from(options.filters, (*store)->now());
  return Looked{std::move(*store), std::move(filter)};
}

std::unordered_map<Digest, Record> left_behind(Store& store) {
  std::unordered_map<Digest, Record> all;
  const auto orphans = store.orphans(orphans_max);
  if (!orphans) return all;  // shown as stored, then
  for (const auto& record : *orphans) {
    auto decision = decide(&record, Policy(), OwnerLost{}, store.now());
    if (auto* commit = std::get_if<Commit>(&decision)) {
      // It is in doubt since it was sent, not since somebody looked.
      commit->next.counts = record.counts;
      commit->next.updated_at = commit->next.history.back().at = record.updated_at;
      all.emplace(record.id, std::move(commit->next));
    }
  }
  return all;
}

Query newest(std::size_t limit) {
  Query query;
  query.limit = limit;
  return query;
}

tl::expected<void, StoreError> each_record(Store& store, const Filter& filter,
                                           const std::function<bool(Record&)>& each) {
  auto lost = left_behind(store);
  auto query = filter.query(page_records, lost.empty());
  do {
    auto page = store.scan(query);
    if (!page) return tl::unexpected(page.error());
    bool all_too_old = true;  // a whole page, for clocks step back
    for (auto& stored : page->records) {
      const auto known = lost.find(stored.id);
      auto& record =
          known != lost.end() && known->second.version == stored.version ? known->second : stored;
      all_too_old = all_too_old && filter.too_old(stored);
      if (filter.takes(record) && !each(record)) return {};
    }
    query.cursor = all_too_old && !page->records.empty() ? 0 : page->next;
  } while (query.cursor != 0);
  return {};
}

tl::expected<Digest, int> find_id(Store& store, const std::string& prefix) {
  if (const auto whole = from_hex(prefix)) return *whole;
  auto wanted = prefix;
  std::transform(wanted.begin(), wanted.end(), wanted.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::vector<Digest> found;
  const auto scanned = each_record(store, Filter(), [&](Record& record) {
    if (to_hex(record.id).starts_with(wanted)) found.push_back(record.id);
    return true;
  });
  if (!scanned) return tl::unexpected(refuse(scanned.error().message));
  if (found.empty())
    return tl::unexpected(refuse("no record's id begins with " + prefix + "; see `ledger show`"));
  if (found.size() > 1)
    return tl::unexpected(refuse("the ids of " + std::to_string(found.size()) +
                                 " records begin with " + prefix + "; give more digits"));
  return found.front();
}

tl::expected<MaybeRecord, StoreError> record_as_it_stands(Store& store, const Digest& id) {
  auto found = load_now(store, id);
  if (!found) return tl::unexpected(found.error());
  const auto lost = left_behind(store);
  const auto known = lost.find(id);
  if (found->record && known != lost.end() && known->second.version == found->record->version)
    return known->second;
  return std::move(found->record);
}

std::string nothing_found(const Filter& filter) {
  return filter.any() ? "no call fits\n" : "no calls yet\n";
}

std::string command_for(const std::string& name_and_id, const StoreOptions& options) {
  auto command = "ledger " + name_and_id;
  if (!options.store.empty()) return command + " " + options.store;
  return options.config.empty() ? command : command + " -c " + options.config;
}

}  // namespace ledger::cli
