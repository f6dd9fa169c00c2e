// The rows of the tables of settings (settings.h), a function for each kind of value. `Field` is a
// member of T, or a function from T& to the field; defaults are read from a T{}, so that a table
// cannot say another value than the code has. Private to config/.
#pragma once

#include <algorithm>
#include <functional>
#include <utility>

#include "config/settings.h"

namespace ledger::rows {

constexpr DurationRange some_time{std::chrono::milliseconds(1), std::chrono::hours(24)};
constexpr DurationRange any_time{std::chrono::milliseconds(0), std::chrono::hours(24)};
constexpr DurationRange long_time{std::chrono::milliseconds(1), std::chrono::hours(24 * 36500)};
constexpr SizeRange buffered{1, std::size_t{256} << 20};

template <class T, class Field>
Setting<T> duration(std::string name, Field field, DurationRange range, std::string about) {
  T standard{};
  return {{std::move(name), to_text(range.least) + " to " + to_text(range.most),
           to_text(std::invoke(field, standard)), std::move(about)},
          [=](Reader& in, const Entry& entry, T& into) {
            in.set(entry, std::invoke(field, into),
                   [&](std::string_view text) { return parse_duration(text, range); });
          }};
}

template <class T, class Field>
Setting<T> lasting(std::string name, Field field, DurationRange range, std::string about) {
  T standard{};
  const std::optional<Duration> value = std::invoke(field, standard);
  return {{std::move(name), to_text(range.least) + " to " + to_text(range.most) + ", or forever",
           value ? to_text(*value) : "forever", std::move(about)},
          [=](Reader& in, const Entry& entry, T& into) {
            in.set(entry, std::invoke(field, into),
                   [&](std::string_view text) { return parse_lasting(text, range); });
          }};
}

template <class T, class Field>
Setting<T> size(std::string name, Field field, SizeRange range, std::string about) {
  T standard{};
  return {{std::move(name), size_text(range.least) + " to " + size_text(range.most),
           size_text(std::invoke(field, standard)), std::move(about)},
          [=](Reader& in, const Entry& entry, T& into) {
            in.set(entry, std::invoke(field, into),
                   [&](std::string_view text) { return parse_size(text, range); });
          }};
}

template <class T, class Field>
Setting<T> count(std::string name, Field field, CountRange range, std::string about) {
  T standard{};
  using Number = std::remove_cvref_t<decltype(std::invoke(field, standard))>;
  return {{std::move(name), std::to_string(range.least) + " to " + std::to_string(range.most),
           std::to_string(std::invoke(field, standard)), std::move(about)},
          [=](Reader& in, const Entry& entry, T& into) {
            in.set(entry, std::invoke(field, into), [&](std::string_view text) {
              return parse_count(text, range).map([](auto n) { return static_cast<Number>(n); });
            });
          }};
}

template <class Value>
using Words = std::vector<std::pair<std::string_view, Value>>;

template <class Value>
Parsed<Value> parse_word(std::string_view text, const Words<Value>& words) {
  std::vector<std::string_view> names;
  std::string all;
  for (const auto& [name, value] : words) {
    if (name == text) return value;
    names.push_back(name);
    all += (all.empty() ? "" : ", ") + std::string(name);
  }
  return tl::unexpected(code(text) + " is not one of " + all + did_you_mean(text, names));
}

// `standard` is given where the field alone does not say the default.
template <class T, class Field, class Value>
Setting<T> word(std::string name, Field field, Words<Value> words, std::string about,
                std::string standard = {}) {
  std::string takes;
  T defaults{};
  for (const auto& [text, value] : words) {
    takes += (takes.empty() ? "" : " | ") + std::string(text);
    if (standard.empty() && std::invoke(field, defaults) == value) standard = text;
  }
  return {{std::move(name), std::move(takes), std::move(standard), std::move(about)},
          [=](Reader& in, const Entry& entry, T& into) {
            in.set(entry, std::invoke(field, into),
                   [&](std::string_view text) { return parse_word<Value>(text, words); });
          }};
}

// Any value with a parser of its own.
template <class T, class Field, class Parse>
Setting<T> value(ConfigKey key, Field field, Parse parse) {
  return {std::move(key), [=](Reader& in, const Entry& entry, T& into) {
            in.set(entry, std::invoke(field, into), parse);
          }};
}

// A list, or one value in its place; it replaces what was inherited.
template <class T, class Field, class Parse>
Setting<T> list(ConfigKey key, Field field, Parse parse) {
  return {std::move(key), [=](Reader& in, const Entry& entry, T& into) {
            auto& values = std::invoke(field, into);
            using Value = typename std::remove_cvref_t<decltype(values)>::value_type;
            values.clear();
            for (const auto& item : in.items(entry)) {
              const std::size_t before = in.mistakes();
              Value one{};
              in.set(Entry{entry.key, entry.at, item}, one, parse);
              if (in.mistakes() == before) values.push_back(std::move(one));
            }
          }};
}

// One of a list that means: these, and nobody else.
inline Parsed<HostRule> parse_named_host(std::string_view text) {
  auto rule = HostRule::parse(text);
  if (rule && rule->is_any())
    return tl::unexpected(code(text) + " is any host; name the ones that are meant");
  return rule;
}

constexpr std::string_view host_list =
    "list of hosts, *.SUFFIX, addresses, networks; each with :PORT";

}  // namespace ledger::rows
