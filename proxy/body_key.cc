#include "proxy/body_key.h"

#include <nlohmann/json.hpp>

#include "fingerprint/url.h"

namespace ledger {
namespace {

constexpr std::string_view json_place = "body:/", form_place = "form:";

// Walks over JSON that is known to be valid; parsing and writing it anew would change its numbers.
class Walker {
 public:
  explicit Walker(std::string_view text) : text_(text) {}
  std::size_t at() const { return at_; }
  char next() {
    while (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')
      ++at_;
    return text_[at_];
  }
  void take() { ++at_; }
  std::string_view string() {
    const auto begin = at_++;
    while (text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    return text_.substr(begin, ++at_ - begin);
  }
  void value() {
    if (next() == '"') return void(string());
    if (text_[at_] != '{' && text_[at_] != '[') {
      at_ = std::min(text_.find_first_of(",]} \t\n\r", at_), text_.size());
      return;
    }
    for (int depth = 0;;) {
      if (next() == '"') {
        string();
        continue;
      }
      const char c = text_[at_++];
      if (c == '{' || c == '[') ++depth;
      if ((c == '}' || c == ']') && --depth == 0) return;
    }
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

std::optional<std::string> with_member(const std::string& body, const std::string& name,
                                       std::string_view key) {
  if (!nlohmann::json::accept(body)) return std::nullopt;
  Walker walker(body);
  if (walker.next() != '{') return std::nullopt;
  walker.take();
  const auto inside = walker.at();
  const bool empty = walker.next() == '}';
  std::size_t begin = 0, end = 0;
  while (walker.next() != '}') {
    const auto member = walker.string();
    const bool is_it = nlohmann::json::parse(member).get_ref<const std::string&>() == name;
    walker.next();
    walker.take();  // the colon
    walker.next();
    const auto from = walker.at();
    walker.value();
    if (is_it && end != 0) return std::nullopt;
    if (is_it) {
      begin = from;
      end = walker.at();
    }
    if (walker.next() == ',') walker.take();
  }
  const auto quoted = "\"" + std::string(key) + "\"";  // hex digits: nothing to escape
  auto out = body;
  if (end != 0)
    out.replace(begin, end - begin, quoted);
  else
    out.insert(inside, nlohmann::json(name).dump() + ":" + quoted + (empty ? "" : ","));
  return out;
}

std::string with_field(const std::string& body, const std::string& name, std::string_view key) {
  std::string out;
  bool placed = false;
  std::string_view rest = body;
  while (!rest.empty()) {
    const auto pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
    const bool is_it = percent_decode(pair.substr(0, pair.find('=')), true) == name;
    if (is_it && placed) continue;
    if (!out.empty()) out += '&';
    if (is_it)
      (out += pair.substr(0, pair.find('='))) += "=" + std::string(key);
    else
      out += pair;
    placed = placed || is_it;
  }
  if (!placed) ((out += out.empty() ? "" : "&") += name + "=") += key;
  return out;
}

}  // namespace

bool is_in_body(std::string_view upstream_key) {
  return upstream_key.starts_with(json_place) || upstream_key.starts_with(form_place);
}

std::optional<std::string> with_body_key(std::string_view place, const Head& head,
                                         const std::string& body, std::string_view key) {
  if (!head.get("Content-Encoding").empty()) return std::nullopt;
  if (place.starts_with(form_place))
    return with_field(body, std::string(place.substr(form_place.size())), key);
  return with_member(body, std::string(place.substr(json_place.size())), key);
}

}  // namespace ledger
