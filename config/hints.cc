#include "config/hints.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

#include "config/values.h"

namespace ledger {
namespace {

struct Spelled {
  std::string_view
      sections;  // those that it is written in, between spaces; the top of the file is "top"
  std::string_view keys;  // likewise
  std::string_view instead;
};
constexpr std::array<Spelled, 15> spellings = {{
    {" routes ", " unlimited pass passthrough bypass ", "write `policy: pass`"},
    {" defaults top ", " unlimited pass passthrough bypass ",
     "write `defaults: { POST: pass }`, or `policy: pass` in a route"},
    {" routes ", " once guard guarded ", "write `policy: once`, as it is anyway"},
    {" defaults top ", " once guard guarded ", "write `defaults: { POST: once }`, as it is anyway"},
    {" routes defaults top ", " replay block ",
     "write `on_duplicate: replay`, as it is anyway, or `on_duplicate: block`"},
    {" routes ", " url urls uri path host hosts endpoint pattern method methods route when for ",
     "write `match: POST https://api.example.com/v1/charges`"},
    {" routes defaults ", " limit count times executions max_calls max_executions calls ",
     "write `max: 2` for two executions"},
    {" routes defaults ", " expire expires expiry expiration expires_in cache cache_ttl ",
     "write `ttl: 24h`"},
    {" routes defaults mounts listeners ",
     " idempotency idempotent idempotency_header idempotency_key_header idempotency_field dedupe "
     "dedup ",
     "write `upstream_key: Idempotency-Key`, by what the upstream deduplicates"},
    {" routes ", " description title comment note ", "write it behind a `#`"},
    {" mounts listeners ", " url uri target to backend destination proxy_pass host ",
     "write `upstream: https://api.example.com`"},
    {" listeners ", " port address bind ", "write `listen: 127.0.0.1:8081`"},
    {" top ", " port host address bind proxy ", "write `listen: 127.0.0.1:8080`"},
    {" top ", " persist db database storage ", "write `store: sqlite:ledger.db`"},
    {" top ", " tools policies rules guards calls ",
     "write `routes:`, a list of `- match: POST https://api.example.com/v1/charges`"},
}};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool is_among(std::string_view words, std::string_view word) {
  return !word.empty() && word.find(' ') == word.npos &&
         words.find(" " + std::string(word) + " ") != words.npos;
}

// "a.b", "a/b", `["a"][0].b` in pieces; nothing where a piece is empty.
std::vector<std::string> pieces_of(std::string_view text) {
  std::vector<std::string> pieces;
  while (!text.empty()) {
    const auto start = text.find_first_not_of("./[]'\"");
    if (start == text.npos) break;
    text.remove_prefix(start);
    const auto piece = text.substr(0, text.find_first_of("./[]'\""));
    pieces.emplace_back(piece);
    text.remove_prefix(piece.size());
  }
  return pieces;
}

std::string pointer_of(const std::vector<std::string>& pieces) {
  std::string pointer;
  for (const auto& piece : pieces) pointer += "/" + piece;
  return pointer;
}

bool has_blank(std::string_view text) { return text.find_first_of(" \t{}$") != text.npos; }

}  // namespace

std::string instead_of_key(std::string_view section, std::string_view key) {
  const auto place = section.empty() ? std::string_view("top") : section;
  const auto word = lower(key);
  for (const auto& spelled : spellings)
    if (is_among(spelled.sections, place) && is_among(spelled.keys, word))
      return std::string(spelled.instead);
  return "";
}

std::string instead_of_policy(std::string_view word) {
  const auto asked = lower(word);
  if (is_among(" unlimited allow none off skip bypass ignore passthrough unguarded false no never ",
               asked))
    return "; write `policy: pass`";
  if (is_among(" replay block ", asked))
    return "; write `policy: once` and `on_duplicate: " + asked + "`";
  if (is_among(" guard guarded dedupe on true yes always ", asked)) return "; write `policy: once`";
  return "";
}

bool is_switch(std::string_view text) {
  return is_among(
      " true false yes no on off y n none null nil ~ enabled disabled always never auto ",
      lower(text));
}

bool is_number(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '+';
  });
}

std::optional<std::string> meant_pointer(std::string_view text) {
  if (text.starts_with('$')) text.remove_prefix(1);
  if (text.empty() || has_blank(text)) return std::nullopt;
  const auto pieces = pieces_of(text);
  if (pieces.empty()) return std::nullopt;
  return pointer_of(pieces);
}

std::optional<std::string> meant_part(std::string_view text) {
  for (const std::string_view before : {"request.", "req.", "call.", "$."})
    if (text.starts_with(before)) text.remove_prefix(before.size());
  const auto end = text.find_first_of(".:/[");
  if (end == text.npos || has_blank(text)) return std::nullopt;
  auto source = lower(text.substr(0, end));
  if (source == "json") source = "body";
  if (source == "headers") source = "header";
  if (source == "params") source = "query";
  const auto pieces = pieces_of(text.substr(end + (text[end] == ':' ? 1 : 0)));
  if (pieces.empty() || !is_among(" header body form query path ", source)) return std::nullopt;
  if (source == "body") return source + ":" + pointer_of(pieces);
  std::string name = pieces.front();
  for (std::size_t i = 1; i < pieces.size(); ++i)
    name += source == "form" ? "[" + pieces[i] + "]" : "." + pieces[i];
  return source + ":" + name;
}

std::string did_you_mean_part(std::string_view text, std::string_view sources) {
  const auto meant = meant_part(text);
  const bool fits = meant && *meant != text &&
                    is_among(sources, std::string_view(*meant).substr(0, meant->find(':')));
  return fits ? "; did you mean " + code(*meant) + "?" : "";
}

}  // namespace ledger
