#include "config/reader.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "config/hints.h"

namespace ledger {
namespace {

struct Later {
  std::string_view section, key;
};
// Named in the documentation as things to come; until then nothing may depend on them.
constexpr std::array<Later, 4> not_yet = {
    {{"routes", "tool"}, {"routes", "budget"}, {"routes", "approval"}, {"", "budgets"}}};

std::string place(std::string_view section) {
  if (section.empty()) return "at the top of the file";
  if (section == "routes") return "in a route";
  if (section == "mounts") return "in a mount";
  if (section == "listeners") return "in a listener";
  return "in " + code(section);
}

std::vector<std::string> names(std::string_view section) {
  std::vector<std::string> out;
  for (const auto& key : config_keys(section)) out.push_back(key.name);
  return out;
}

// "in a route or in `defaults`": the other sections that have this key; empty if none has.
std::string other_places(std::string_view key, std::string_view section) {
  std::vector<std::string> places;
  for (const auto& other : config_sections()) {
    const auto keys = names(other);
    if (other != section && std::find(keys.begin(), keys.end(), key) != keys.end())
      places.push_back(place(other));
  }
  std::string out;
  for (std::size_t i = 0; i < places.size(); ++i)
    out += (i == 0 ? "" : i + 1 == places.size() ? " or " : ", ") + places[i];
  return out;
}

std::string unknown(const std::string& key, std::string_view section) {
  if (key == "<<")
    return "merge keys (`<<`) are not supported; put what routes share in `defaults`";
  for (const Later& later : not_yet)
    if (later.section == section && later.key == key)
      return code(key) + " is not supported yet in this version";
  if (auto instead = instead_of_key(section, key); !instead.empty())
    return "unknown key " + code(key) + "; " + instead;
  if (auto places = other_places(key, section); !places.empty())
    return code(key) + " does not belong " + place(section) + "; it belongs " + places;

  const auto here = names(section);
  const std::vector<std::string_view> words(here.begin(), here.end());
  if (auto hint = did_you_mean(key, words); !hint.empty()) return "unknown key " + code(key) + hint;
  for (const auto& other : config_sections()) {
    const auto keys = names(other);
    const std::vector<std::string_view> others(keys.begin(), keys.end());
    if (const auto near = nearest(key, others))
      return "unknown key " + code(key) + "; did you mean " + code(*near) + "? It belongs " +
             other_places(*near, section);
  }
  std::string known;
  for (const auto& name : here) known += (known.empty() ? "" : ", ") + name;
  return "unknown key " + code(key) + "; known " + place(section) + ": " + known;
}

}  // namespace

const Entry* find_entry(const Entries& entries, std::string_view key) {
  for (const Entry& entry : entries)
    if (entry.key == key) return &entry;
  return nullptr;
}

Reader::Reader(std::string file, const Environment& env) : file_(std::move(file)), env_(env) {
  std::error_code ignored;
  const auto type = std::filesystem::status(file_, ignored).type();
  using enum std::filesystem::file_type;
  if (type != fifo && type != socket && type != character)
    folder_ = std::filesystem::path(file_).parent_path().string();
}

Parsed<std::string> Reader::path(std::string_view text) const {
  auto path = expand_home(text, env_);
  if (!path || path->starts_with('/')) return path;
  if (folder_) return (std::filesystem::path(*folder_) / *path).string();
  return tl::unexpected("a relative path is taken from the config file's folder, and " +
                        code(file_) + " has none; write an absolute path");
}

void Reader::fail(const YAML::Mark& at, std::string message) {
  const bool whole_file = at.is_null();
  errors_.push_back(
      {file_, whole_file ? 0 : at.line + 1, whole_file ? 0 : at.column + 1, std::move(message)});
}

std::vector<ConfigError> Reader::errors() const {
  auto sorted = errors_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const ConfigError& a, const ConfigError& b) {
    return std::pair(a.line, a.column) < std::pair(b.line, b.column);
  });
  return sorted;
}

Entries Reader::entries(const YAML::Node& node, const std::string& what) {
  Entries found;
  if (!node.IsDefined() || node.IsNull()) return found;
  if (!node.IsMap()) {
    fail(node.Mark(), what + " takes keys and values (`key: value`), not " +
                          (node.IsSequence() ? "a list" : "plain text"));
    return found;
  }
  for (const auto& pair : node) {
    if (!pair.first.IsScalar()) {
      fail(pair.first.Mark(), "a key is plain text");
      continue;
    }
    const std::string& key = pair.first.Scalar();
    if (const Entry* first = find_entry(found, key))
      fail(pair.first.Mark(), code(key) + " stands twice; it is already on line " +
                                  std::to_string(first->at.line + 1));
    else
      found.push_back({key, pair.first.Mark(), pair.second});
  }
  return found;
}

std::vector<YAML::Node> Reader::items(const Entry& entry) {
  if (entry.value.IsNull()) return {};
  if (entry.value.IsSequence()) return {entry.value.begin(), entry.value.end()};
  return {entry.value};
}

std::optional<std::string> Reader::text(const Entry& entry, bool key_template) {
  const auto& [key, at, value] = entry;
  // What is not there has no place of its own.
  if (!value.IsDefined() || value.IsNull()) {
    fail(at, code(key) + " has no value; give one, or leave the key out");
    return std::nullopt;
  }
  if (!value.IsScalar()) {
    fail(value.Mark(), code(key) + " takes one value here, not " +
                           (value.IsSequence() ? "a list" : "keys and values"));
    return std::nullopt;
  }
  auto read = substitute(value.Scalar(), env_, key_template);
  if (read && !read->empty()) return std::move(*read);
  fail(value.Mark(), code(key) + ": " + (read ? "the value is empty" : read.error()));
  return std::nullopt;
}

void Reader::refuse_unknown(const Entries& entries, std::string_view section) {
  const auto known = names(section);
  for (const Entry& entry : entries)
    if (std::find(known.begin(), known.end(), entry.key) == known.end())
      fail(entry.at, unknown(entry.key, section));
}

}  // namespace ledger
