// A YAML document read key by key: collects every mistake with its position. Private to config/.
#pragma once

#include <yaml-cpp/yaml.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "config/values.h"

namespace ledger {

// One `key: value` of a map. For an item of a list, `key` is the list's own.
struct Entry {
  std::string key;
  YAML::Mark at;  // of the key
  YAML::Node value;
};
using Entries = std::vector<Entry>;
const Entry* find_entry(const Entries& entries, std::string_view key);

class Reader {
 public:
  Reader(std::string file, const Environment& env);

  const Environment& env() const { return env_; }
  // A path of the file: `~` is the user's home, and a relative one is taken from the file's folder,
  // so that the same config means the same files wherever it is used.
  Parsed<std::string> path(std::string_view text) const;
  void fail(const YAML::Mark& at, std::string message);
  std::size_t mistakes() const { return errors_.size(); }
  // In the order of the file.
  std::vector<ConfigError> errors() const;

  // The entries of a map; `what` names it in errors. Anything but a map, or a key that is not plain
  // text, or that stands twice, is reported. An absent value is an empty map.
  Entries entries(const YAML::Node& node, const std::string& what);
  // The items of a list, or one value as a list of one. An absent value is an empty list.
  std::vector<YAML::Node> items(const Entry& entry);

  // A scalar with its ${ENV} put in; nullopt where that fails (reported).
  std::optional<std::string> text(const Entry& entry, bool key_template = false);

  // `into` = parse(text of the value), or a report.
  template <class T, class Parse>
  void set(const Entry& entry, T& into, Parse parse) {
    const auto read = text(entry);
    if (!read) return;
    auto parsed = parse(*read);
    if (parsed)
      into = std::move(*parsed);
    else
      fail(entry.value.Mark(), code(entry.key) + ": " + parsed.error());
  }

  // Reports entries that `section` does not have, with the nearest word or the place they belong.
  void refuse_unknown(const Entries& entries, std::string_view section);

 private:
  std::string file_;
  std::optional<std::string> folder_;  // nullopt: what was read has none (a pipe)
  const Environment& env_;
  std::vector<ConfigError> errors_;
};

// One row of the table of settings: what it is called, what it takes, and how it is read.
template <class T>
struct Setting {
  ConfigKey key;
  std::function<void(Reader&, const Entry&, T&)> read;
};
template <class T>
using Settings = std::vector<Setting<T>>;

// Reads the entries that the table has, in the table's order.
template <class T>
void read_settings(Reader& in, const Entries& entries, const Settings<T>& table, T& into) {
  for (const auto& setting : table)
    if (const Entry* entry = find_entry(entries, setting.key.name)) setting.read(in, *entry, into);
}

}  // namespace ledger
