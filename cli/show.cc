// ledger show: one record whole, or the history of all, newest last.
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "cli/records.h"
#include "cli/rows.h"
#include "guard/operate.h"

namespace ledger::cli {
namespace {

int show_one(const std::string& prefix, const ShowOptions& options) {
  const auto store = open_existing(options);
  if (!store) return store.error();

  const auto id = find_id(**store, prefix);
  if (!id) return id.error();
  const auto found = record_as_it_stands(**store, *id);
  if (!found) return refuse(found.error().message);
  if (!*found) return refuse("there is no record " + prefix + "; see `ledger show`");
  const auto& record = **found;
  const auto now = (*store)->now();
  if (options.json) {
    print_json(record_json(record, true));
    return fine;
  }
  const bool colour = shows_colour(1);
  const auto name = name_of(record);
  std::cout << styled(name, Style::bold, colour) << '\n';
  print(field_rows(record, now), colour);
  std::cout << "history\n";
  print(history_rows(record, now), colour);
  if (record.state == State::in_doubt)
    std::cout << "settle it: " << clean(command_for("resolve " + short_id(record.id), options))
              << " --executed (never sent again) | --not-executed (the next repeat is sent)\n";
  return fine;
}

// Answers of a scan come without their bodies: their length is not known here.
void print_whole(const Record& record) {
  auto json = record_json(record, true);
  if (json["answer"].is_object()) json["answer"].erase("body_bytes");
  print_json(json);
}

struct Happened {
  Instant at;
  Row row;
};

int show_all(const ShowOptions& options) {
  const auto looked = look(options);
  if (!looked) return looked.error();
  const auto last = options.last;
  const bool json = options.json;
  std::vector<Happened> events;
  std::vector<Record> records;
  const auto now = looked->store->now();
  const auto scanned = each_record(*looked->store, looked->filter, [&](Record& record) {
    if (json) {
      records.push_back(std::move(record));
      return last == 0 || records.size() < last;
    }
    const auto history = history_rows(record, now);
    for (std::size_t i = 0; i < history.size(); ++i)
      events.push_back({record.history[i].at,
                        {history[i][0],
                         {short_id(record.id), Style::dim},
                         {name_of(record)},
                         history[i][1],
                         history[i][2]}});
    return true;
  });
  if (!scanned) return refuse(scanned.error().message);
  std::for_each(records.rbegin(), records.rend(), print_whole);

  // Records came newest first, each one's events oldest first.
  std::stable_sort(events.begin(), events.end(),
                   [](const auto& a, const auto& b) { return a.at < b.at; });
  const auto skipped = last == 0 || events.size() <= last ? 0 : events.size() - last;
  std::vector<Row> rows;
  for (auto i = skipped; i < events.size(); ++i) rows.push_back(std::move(events[i].row));
  print(rows, shows_colour(1));
  if (rows.empty() && !json && is_terminal(1)) std::cerr << nothing_found(looked->filter);
  return fine;
}

}  // namespace

int show(const ShowOptions& options) {
  auto asked = options;
  std::string id;
  for (const auto& argument : options.arguments) {
    std::error_code ignored;
    const bool is_id = is_id_prefix(argument) && !std::filesystem::exists(argument, ignored);
    auto& slot = is_id ? id : asked.store;
    if (!slot.empty())
      return refuse(std::string("show takes one ") +
                        (is_id ? "id" : "store, and an id is six or more hex digits") + ": `" +
                        argument + "` is too much",
                    usage);
    slot = argument;
  }
  if (id.empty()) return show_all(asked);
  const auto& f = options.filters;
  if (f.route || f.agent || f.run || f.state || f.since)
    return refuse("show takes an id, or --route, --agent, --run, --state and --since, not both",
                  usage);
  return show_one(id, asked);
}

}  // namespace ledger::cli
