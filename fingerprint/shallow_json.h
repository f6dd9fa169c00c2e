// JSON of strangers as an nlohmann document. Copying, comparing and writing one recurse, so a deep
// one could take the stack with it.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

namespace ledger {

enum class JsonFault : std::uint8_t { none, not_json, too_deep };

// The document, as deep as a canonical body may be (fingerprint/json_reader.cc). nullopt: `fault`
// says why.
template <class Json>
std::optional<Json> parse_shallow(std::string_view text, JsonFault& fault) {
  constexpr int depth_max = 128;
  struct TooDeep {};
  const auto shallow = [](int depth, typename Json::parse_event_t, Json&) {
    if (depth > depth_max) throw TooDeep();
    return true;
  };
  fault = JsonFault::not_json;
  try {
    auto document = Json::parse(text, shallow, false);
    if (document.is_discarded()) return std::nullopt;
    fault = JsonFault::none;
    return document;
  } catch (const TooDeep&) {
    fault = JsonFault::too_deep;
  }
  return std::nullopt;
}

}  // namespace ledger
