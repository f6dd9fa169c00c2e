// A URL, a path below a mount, a query: what is sent is what came, and means what was identified;
// to normalise twice is to normalise once.
#include "fingerprint/url.h"

#include "config/config.h"
#include "fingerprint/body.h"
#include "tests/fuzz/fuzz.h"

namespace ledger::test {
namespace {

// As an upstream may read it that decodes a segment before it looks for dots.
bool has_dot_segment(std::string_view path) {
  while (!path.empty()) {
    path.remove_prefix(1);
    const auto segment = path.substr(0, path.find('/'));
    path.remove_prefix(segment.size());
    const auto decoded = percent_decode(segment, false);
    if (decoded == "." || decoded == "..") return true;
  }
  return false;
}

void check_url(const Url& url) {
  CHECK(url.path.starts_with('/'));
  CHECK(normalise_path(url.path) == url.path);
  CHECK(normalise_path(url.spelled_path()) == url.path);
  CHECK_FALSE(has_dot_segment(url.path));
  const auto sent = url.to_string();
  const auto again = parse_url(sent);
  REQUIRE_MESSAGE(again, sent);
  CHECK(again->origin() == url.origin());
  CHECK(again->path == url.path);
  CHECK(again->path_received == url.path_received);
  CHECK(again->has_query == url.has_query);
  CHECK(again->query == url.query);
  CHECK(again->port_number() == url.port_number());
}

// Nothing that a caller writes leads out of the upstream's path.
void check_mount(std::string_view text) {
  static const std::vector<Mount> mounts = {
      {"/spelled", *parse_url("https://up.example/b%61se"), "", false},
      {"/in", *parse_url("https://up.example/base"), "", false}};
  for (const std::string_view before : {"/in/", "/in/x/../", "/%69n/%2e%2E/in/", "/spelled/"}) {
    const auto target = std::string(before) + std::string(text);
    const auto mounted = mount_target(mounts, target);
    if (!mounted) continue;
    const bool is_sendable =
        parse_url(mounted->url.to_string()).has_value();  // no spaces, no control characters
    if (is_sendable) check_url(mounted->url);
    CHECK((mounted->url.path == "/base" || mounted->url.path.starts_with("/base/")));
    // What follows the mount goes out byte for byte, and stays below it, also decoded.
    const auto& sent = mounted->url.spelled_path();
    const auto path = target.substr(0, target.find_first_of("?#"));
    const auto base = sent.find('/', 1);
    const auto rest = base == sent.npos ? std::string() : sent.substr(base);
    CHECK(path.ends_with(rest));
    CHECK_FALSE(climbs_out(rest));
  }
}

std::string wholly_encoded(std::string_view text) {
  constexpr char hex[] = "0123456789abcdef";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    ((out += '%') += hex[byte >> 4]) += hex[byte & 15];
  }
  return out;
}

void check_pairs(std::string_view text) {
  const auto canonical = [](std::string_view pairs) {
    return canonical_pairs(parse_pairs(pairs), IdentityRules(), IgnoreRule::Where::query);
  };
  const auto made = canonical(text);
  CHECK(canonical(made) == made);
  std::string respelled;
  const auto pairs = parse_pairs(text);
  for (const auto& [name, value] : pairs)
    respelled += "&&" + wholly_encoded(name) + "=" + wholly_encoded(value);
  CHECK(parse_pairs(respelled) == pairs);
  CHECK(canonical(respelled) == made);
}

// The path is sent as it came.
void check_spelling(std::string_view text) {
  const auto url = parse_url("http://host/" + std::string(text));
  if (!url) return;
  CHECK(url->spelled_path() == "/" + std::string(text.substr(0, text.find_first_of("?#"))));
  CHECK(url->host == "host");
}

void check(std::string_view text) {
  check_spelling(text);
  if (const auto url = parse_url(text)) check_url(*url);
  if (const auto url = parse_url("http://host/" + std::string(text))) check_url(*url);
  check_mount(text);
  check_pairs(text);
  CHECK(percent_decode(percent_encode(text), true) == text);
}

}  // namespace
}  // namespace ledger::test

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ledger::test::check(ledger::test::text_of(data, size));
  return 0;
}
