// A body of any type: a line of Content-Type, the body. Sent in another way it is the same call,
// and a key that is put into it changes nothing else.
#include "fingerprint/body.h"

#include <nlohmann/json.hpp>

#include "proxy/body_key.h"
#include "tests/fingerprint_support.h"
#include "tests/fuzz/fuzz.h"

namespace ledger::test {
namespace {

Case sent(std::string_view type, std::string_view body) {
  Case c;
  c.body = body;
  return c.with("Content-Type", std::string(type))
      .with("Authorization", "Bearer x")
      .with("X-Tenant-Id", "7");
}

// Other spellings of the same headers, and compressed.
void check_respelled(const Case& call) {
  Case other = call;
  std::reverse(other.headers.begin(), other.headers.end());
  for (auto& [name, value] : other.headers)
    for (char& c : name) c = static_cast<char>(std::toupper(c));
  other.with("Date", "today").url = "HTTPS://API.example.com:443/v1/%63harges";
  CHECK(other.id() == call.id());
  if (call.body.empty()) return;
  for (const auto& [coding, window_bits] : {std::pair("gzip", 31), std::pair("deflate", 15)}) {
    Case packed = other;
    packed.body = deflated(call.body, window_bits);
    packed.with("Content-Encoding", coding);
    CHECK(packed.id() == call.id());
  }
}

std::string quoted_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out += '"';
}

// The parts of a multipart body again, behind another boundary.
void check_parts(std::string_view type, const Case& call) {
  const auto parts = parse_multipart(type, call.body);
  REQUIRE(parts);
  std::string boundary = "b";
  while (call.body.find(boundary) != call.body.npos) boundary += std::to_string(boundary.size());
  std::string body = "a preamble\r\n";
  for (const auto& part : *parts) {
    body += "--" + boundary + " \r\nX-Other: 1\r\ncontent-type:" + part.type +
            "\r\nContent-Disposition: form-data; name=" + quoted_string(part.name);
    if (part.filename) body += "; filename=" + quoted_string(*part.filename);
    ((body += "\r\n\r\n") += part.content) += "\r\n";
  }
  body += "--" + boundary + "--\r\nan epilogue";
  CHECK(sent("Multipart/Form-Data; boundary=" + boundary, body).id() == call.id());
}

void check_meaning(std::string_view type, const Case& call) {
  const auto read = call.canonical();
  if (read.kind == "json" || read.kind == "form") {
    const auto again = sent(type, read.bytes);
    CHECK(again.canonical().bytes == read.bytes);
    if (!read.bytes.empty()) CHECK(again.id() == call.id());
  } else if (read.kind == "multipart") {
    check_parts(type, call);
  } else {
    CHECK(read.bytes == call.body);
  }
}

// What an upstream_key in the body leaves as it was.
void check_key(const std::string& body) {
  const std::string key = "5eed";
  if (const auto keyed = with_body_key("body:/k", {}, body, key)) {
    auto expected = nlohmann::json::parse(body);
    const auto made = nlohmann::json::parse(*keyed);
    expected["k"] = key;
    CHECK(made == expected);
    if (JsonDocument::parse(body))
      CHECK(json(*keyed).ignore("body:/k").id() == json(body).ignore("body:/k").id());
  }
  const auto keyed = with_body_key("form:k", {}, body, key);
  REQUIRE(keyed);
  const auto pairs = parse_pairs(*keyed);
  CHECK(std::count(pairs.begin(), pairs.end(), std::pair<std::string, std::string>("k", key)) == 1);
  CHECK(form(*keyed).ignore("form:k").canonical().bytes ==
        form(body).ignore("form:k").canonical().bytes);
}

void check(std::string_view text) {
  const auto type = take_line(text);
  const auto call = sent(type, text);
  check_meaning(type, call);
  check_respelled(call);
  check_key(call.body);
}

}  // namespace
}  // namespace ledger::test

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ledger::test::check(ledger::test::text_of(data, size));
  return 0;
}
