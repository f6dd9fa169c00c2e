// ledger show: one record whole, or the history of all, newest last.
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "cli/commands.h"
#include "cli/rows.h"
#include "guard/operate.h"

namespace ledger::cli {
namespace {

int show_one(Store& store, const std::string& prefix, bool json) {
  const auto id = find_id(store, prefix);
  if (!id) return id.error();
  const auto found = load_now(store, *id);
  if (!found) return refuse(found.error().message);
  if (!found->record) return refuse("there is no record " + prefix + "; see `ledger show`");
  const auto& record = *found->record;
  if (json) {
    print_json(record_json(record, true));
    return fine;
  }
  const bool colour = shows_colour(1);
  const auto name = name_of(record);
  std::cout << styled(name, Style::bold, colour) << '\n';
  print(field_rows(record, found->now), colour);
  std::cout << "history\n";
  print(history_rows(record, found->now), colour);
  if (record.state == State::in_doubt)
    std::cout << "settle it: ledger resolve " << short_id(record.id)
              << " --executed | --not-executed\n";
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

int show_all(Store& store, std::size_t last, bool json) {
  std::vector<Happened> events;
  std::vector<Record> records;
  const auto now = store.now();
  const auto scanned = each_record(store, [&](Record& record) {
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
  if (rows.empty() && !json && is_terminal(1)) std::cerr << "no calls yet\n";
  return fine;
}

}  // namespace

int show(const ShowOptions& options) {
  std::string id, store_name;
  for (const auto& argument : options.arguments) {
    std::error_code ignored;
    const bool is_id = is_id_prefix(argument) && !std::filesystem::exists(argument, ignored);
    auto& slot = is_id ? id : store_name;
    if (!slot.empty())
      return refuse(std::string("show takes one ") +
                        (is_id ? "id" : "store, and an id is six or more hex digits") + ": `" +
                        argument + "` is too much",
                    usage);
    slot = argument;
  }
  const auto store = open_existing(store_name, options);
  if (!store) return store.error();
  return id.empty() ? show_all(**store, options.last, options.json)
                    : show_one(**store, id, options.json);
}

}  // namespace ledger::cli
