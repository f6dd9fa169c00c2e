// What a connection says: a letter (q: requests, p: responses, h: a response to HEAD, c: chunks
// alone), a byte that says how it is split, and the stream. It is read the same however it is
// split, and no more of it is taken for a message, a field or a chunk than the plainest reader
// takes.
#include "proxy/chunks.h"
#include "proxy/forwarding.h"
#include "proxy/head_parser.h"
#include "proxy/syntax.h"
#include "tests/fuzz/fuzz.h"
#include "tests/proxy_net_support.h"

namespace ledger::test {
namespace {

std::vector<std::string_view> split(std::string_view text, unsigned how) {
  std::vector<std::string_view> pieces;
  for (unsigned i = how; !text.empty(); i = i * 5 + 3) {
    const auto n = std::min<std::size_t>(text.size(), 1 + (i >> 3) % (how % 64 + 1));
    pieces.push_back(text.substr(0, n));
    text.remove_prefix(n);
  }
  return pieces;
}

std::string_view take_to(std::string_view& text, std::string_view end) {
  const auto at = text.find(end);
  REQUIRE(at != text.npos);
  const auto taken = text.substr(0, at);
  text.remove_prefix(at + end.size());
  return taken;
}

// --- heads ------------------------------------------------------------------------------------

// A line is a field, and a field is a line.
void check_lines(std::string_view text, const Head& head) {
  const auto first = take_to(text, "\r\n");
  const std::string version = head.version == 11 ? "HTTP/1.1" : "HTTP/1.0";
  if (head.status == 0)
    CHECK(first == std::string(head.method) + " " + std::string(head.target) + " " + version);
  else
    CHECK(first.starts_with(version + " " + std::to_string(head.status)));
  REQUIRE(head.kinds.size() == head.fields.size());
  for (const auto& field : head.fields) {
    auto line = take_to(text, "\r\n");
    CHECK(take_to(line, ":") == field.name);
    CHECK(trim_ows(line) == field.value);
    CHECK(std::all_of(field.name.begin(), field.name.end(), is_token_char));
    CHECK(std::all_of(field.value.begin(), field.value.end(), is_value_char));
  }
  CHECK(text == "\r\n");
}

Reading reading_of(char letter) {
  Reading how;
  if (letter != 'q') how.side = MessageReader::Side::responses;
  how.to_head = letter == 'h';
  return how;
}

// What goes to the upstream is one request that says nothing but what came.
void check_forwarded(const Head& head) {
  const auto url = parse_url("http://up.example" + std::string(head.target));
  if (!url || !head.target.starts_with('/')) return;
  Forwarding how;
  how.url = &*url;
  how.via = "ledger";
  how.client_address = "::1";
  how.reverse = true;
  std::string sent;
  append_forwarded_request(sent, head, how);
  sent += "\r\n";
  HeadParser parser(MessageReader::Side::requests);
  CHECK(parser.parse(sent, false) == ReadError::none);
  const auto& again = parser.head();
  CHECK(again.method == head.method);
  CHECK(again.target == url->spelled_path() + (url->has_query ? "?" + url->query : ""));
  CHECK(again.get("Host") == "up.example");
  CHECK(again.framing == Framing::none);
  CHECK(again.keep_alive);
  CHECK_FALSE(again.upgrade);
  check_lines(sent, again);
}

void check_answer(const Head& head, bool to_head) {
  std::string sent;
  append_status_line(sent, head.status, head.reason);
  append_answer_fields(sent, head);
  sent += "\r\n";
  HeadParser parser(MessageReader::Side::responses);
  CHECK(parser.parse(sent, to_head) == ReadError::none);
  CHECK(parser.head().status == head.status);
  CHECK((parser.head().framing == head.framing || head.framing == Framing::chunked));
  check_lines(sent, parser.head());
}

bool has_bare_lf(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i)
    if (text[i] == '\n' && (i == 0 || text[i - 1] != '\r')) return true;
  return false;
}

// `read` is what MessageReader made of `text`.
void check_head(std::string_view text, const Reading& how, const ReadStream& read) {
  const auto end = text.find("\r\n\r\n");
  if (end == text.npos || has_bare_lf(text.substr(0, end))) {
    CHECK(read.messages.empty());
    return;
  }
  text = text.substr(0, end + 4);
  HeadParser parser(how.side);
  if (parser.parse(text, how.to_head) != ReadError::none) {
    CHECK_FALSE(parser.detail().empty());
    return;
  }
  const bool request = how.side == MessageReader::Side::requests;
  check_lines(text, parser.head());
  if (request)
    check_forwarded(parser.head());
  else
    check_answer(parser.head(), how.to_head);
}

// --- chunks -----------------------------------------------------------------------------------

struct Decoded {
  std::string body;
  std::size_t used = 0;
  bool done = false;
  std::string_view fault;
  bool operator==(const Decoded&) const = default;
};

Decoded decode(const std::vector<std::string_view>& pieces, std::size_t max) {
  Decoded made;
  ChunkDecoder decoder;
  decoder.reset(200);
  for (auto piece : pieces) {
    while (!piece.empty() && !decoder.done() && decoder.fault().empty()) {
      const auto before = made.body.size();
      const auto step = decoder.decode(piece, &made.body, max);
      CHECK(made.body.size() - before == step.given);
      CHECK(step.given <= max);
      REQUIRE(step.used > 0);
      piece.remove_prefix(step.used);
      made.used += step.used;
    }
  }
  made.done = decoder.done();
  made.fault = decoder.fault();
  return made;
}

// Takes everything on trust.
std::string plainly_decoded(std::string_view text) {
  const auto take_line = [&] {
    const std::string line(take_to(text, "\r\n"));
    CHECK(std::all_of(line.begin(), line.end(), is_value_char));
    return line;
  };
  std::string body;
  for (;;) {
    const auto line = take_line();
    const auto size = std::stoull(line, nullptr, 16);
    if (size == 0) break;
    REQUIRE(size <= text.size());
    body += text.substr(0, size);
    text.remove_prefix(size);
    CHECK(take_to(text, "\r\n").empty());
  }
  while (!take_line().empty()) continue;
  CHECK(text.empty());
  return body;
}

void check_chunks(std::string_view text, unsigned how) {
  const auto whole = decode({text}, text.size() + 1);
  CHECK(decode(split(text, how), 1 + how % 7) == whole);
  if (!whole.done) return;
  CHECK(plainly_decoded(text.substr(0, whole.used)) == whole.body);
  std::string again;
  for (const auto piece : split(whole.body, how)) append_chunk(again, piece);
  append_last_chunk(again);
  CHECK(decode({again}, again.size()) == Decoded{whole.body, again.size(), true, {}});
}

// --- streams ----------------------------------------------------------------------------------

void check_stream(std::string_view text, unsigned how, Reading reading) {
  const auto whole = read_text(text, reading);
  check_head(text, reading, whole);
  reading.max = 1 + how;
  CHECK(read_pieces(split(text, how), reading) == whole);
}

void check(std::string_view text) {
  if (text.size() < 2 || text.size() > 16'384) return;
  const char letter = text[0];
  const auto how = static_cast<unsigned char>(text[1]);
  text.remove_prefix(2);
  if (letter == 'c') return check_chunks(text, how);
  check_stream(text, how, reading_of(letter));
}

}  // namespace
}  // namespace ledger::test

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ledger::test::check(ledger::test::text_of(data, size));
  return 0;
}
