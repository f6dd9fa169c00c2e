// Bodies and streams of messages: however they arrive, the same is read.
#include <malloc.h>

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstring>
#include <random>

#include "proxy/chunks.h"
#include "tests/proxy_net_support.h"

namespace ledger::test {
namespace {

using Random = std::mt19937_64;
std::size_t below(Random& random, std::size_t n) { return random() % n; }

std::string some_bytes(Random& random, std::size_t n) {
  std::string s(n, '\0');
  for (auto& c : s) c = "\r\n0aF;: \0x\xff"[below(random, 11)];
  return s;
}

std::vector<std::string_view> split(Random& random, std::string_view text) {
  std::vector<std::string_view> pieces;
  const auto largest = std::size_t{1} << below(random, 12);
  while (!text.empty()) {
    const auto n = std::min(text.size(), 1 + below(random, largest));
    pieces.push_back(text.substr(0, n));
    text.remove_prefix(n);
  }
  return pieces;
}

// A random valid message and what must be read of it.
ReadMessage add_message(Random& random, std::string& text, Reading how) {
  const bool request = how.side == MessageReader::Side::requests;
  ReadMessage m;
  m.first = request ? "POST /" + std::to_string(random() % 1000) : "200 Fine by me";
  text += request ? m.first + " HTTP/1.1\r\n" : "HTTP/1.1 " + m.first + "\r\n";
  m.fields.emplace_back("Host", "x");
  for (auto n = below(random, 5); n > 0; --n)
    m.fields.emplace_back("X-" + std::to_string(n), std::string(below(random, 300), 'v'));
  m.body = some_bytes(random, below(random, below(random, 4) == 0 ? 30'000 : 1000));
  m.keep_alive = true;
  m.framing = below(random, 2) == 0 ? Framing::length : Framing::chunked;
  std::string body;
  if (m.framing == Framing::length) {
    m.fields.emplace_back("Content-Length", std::to_string(m.body.size()));
    body = m.body;
  } else {
    m.fields.emplace_back("Transfer-Encoding", "chunked");
    for (auto piece : split(random, m.body)) append_chunk(body, piece);
    append_last_chunk(body);
  }
  for (const auto& [name, value] : m.fields) append_field(text, name, value);
  (text += "\r\n") += body;
  return m;
}

TEST_CASE("any split of a stream of messages gives the same messages") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    Reading how = seed % 2 == 0 ? Reading{} : responses;
    how.max = std::size_t{1} << (4 + below(random, 13));
    std::string text;
    ReadStream expected;
    for (auto n = 1 + below(random, 5); n > 0; --n)
      expected.messages.push_back(add_message(random, text, how));
    expected.end = ReadError::closed;
    CHECK(read_pieces(split(random, text), how) == expected);
    CHECK(read_text(text, how) == expected);
    // Cut anywhere, what was whole is read and the rest is not made up.
    const auto cut = read_text(std::string_view(text).substr(0, below(random, text.size())), how);
    CHECK((cut.end == ReadError::truncated || cut.end == ReadError::closed));
    REQUIRE(cut.messages.size() < expected.messages.size());
    for (std::size_t i = 0; i < cut.messages.size(); ++i)
      CHECK(cut.messages[i] == expected.messages[i]);
  }
}

TEST_CASE("chunks: whatever we take, Beast takes too, and reads the same") {
  namespace http = boost::beast::http;
  std::size_t taken = 0;
  for (std::uint64_t seed = 1; seed <= 4000; ++seed) {
    Random random(seed);
    std::string body;
    for (auto n = below(random, 4); n > 0; --n)
      append_chunk(body, some_bytes(random, 1 + below(random, 20)));
    append_last_chunk(body);
    for (auto n = below(random, 3); n > 0 && !body.empty(); --n) {
      const auto at = below(random, body.size());
      const auto what = below(random, 3);
      if (what == 0) body.erase(at, 1);
      if (what == 1) body.insert(at, some_bytes(random, 1));
      if (what == 2) body[at] = some_bytes(random, 1)[0];
    }
    ChunkDecoder decoder;
    decoder.reset(1000);
    std::string ours;
    const auto step = decoder.decode(body, &ours, SIZE_MAX);

    ChunkDecoder bytewise_decoder;
    bytewise_decoder.reset(1000);
    std::string bytes;
    std::size_t used = 0;
    while (used < body.size() && !bytewise_decoder.done() && bytewise_decoder.fault().empty())
      used += bytewise_decoder.decode(std::string_view(body).substr(used, 1), &bytes, 1).used;
    CHECK_EQ(bytes, ours);
    CHECK_EQ(used, step.used);
    CHECK_EQ(bytewise_decoder.done(), decoder.done());
    CHECK_EQ(bytewise_decoder.fault(), decoder.fault());

    if (!decoder.done()) continue;
    ++taken;
    http::request_parser<http::string_body> theirs;
    theirs.eager(true);
    const auto text =
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body.substr(0, step.used);
    ErrorCode error;
    CAPTURE(body);
    theirs.put(asio::buffer(text), error);
    CHECK_FALSE(error);
    CHECK(theirs.is_done());
    CHECK_EQ(theirs.get().body(), ours);
  }
  CHECK(taken > 500);
}

TEST_CASE("answers without a body have none, whatever their fields say") {
  const auto framing = [](const std::string& text, bool to_head) {
    const auto read = read_text(text, {MessageReader::Side::responses, to_head});
    REQUIRE_FALSE(read.messages.empty());
    return read.messages[0].framing;
  };
  const std::string length = "Content-Length: 5\r\n\r\n";
  CHECK_EQ(framing("HTTP/1.1 200 OK\r\n" + length, true), Framing::none);
  CHECK_EQ(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true), Framing::none);
  for (const auto* status : {"100", "103", "204", "304"})
    CHECK_EQ(framing(std::string("HTTP/1.1 ") + status + " X\r\n" + length, false), Framing::none);
  CHECK_EQ(read_text("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
                     responses)
               .messages.at(1)
               .body,
           "a");
}

TEST_CASE("a body that breaks off is truncated, and one until the end is whole on FIN") {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  CHECK_EQ(read_text(ok + "Content-Length: 5\r\n\r\nabcd", responses).end, ReadError::truncated);
  CHECK_EQ(read_text(ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n", responses).end,
           ReadError::truncated);
  CHECK_EQ(read_text(ok + "Content-Len", responses).end, ReadError::truncated);
  CHECK_EQ(read_text("", responses).end, ReadError::closed);
  CHECK_EQ(read_text("\r\n").end, ReadError::closed);
  const auto whole = read_text(ok + "\r\nabc", responses);
  CHECK_EQ(whole.messages.at(0).body, "abc");
  CHECK_EQ(whole.messages.at(0).framing, Framing::until_close);

  Loop loop;
  Pair pair(loop);
  MessageReader reader(pair.stream, MessageReader::Side::responses, 65'536);
  pair.say(ok + "\r\nabc");
  REQUIRE_EQ(loop.run(reader.read_head()), ReadError::none);
  std::string body;
  REQUIRE_EQ(loop.run(reader.read_body(body)), ReadError::none);
  pair.reset();
  CHECK_EQ(loop.run(reader.read_body(body)), ReadError::truncated);
  CHECK_FALSE(reader.body_done());
}

struct OneReader {
  explicit OneReader(MessageReader::Side side = MessageReader::Side::requests)
      : pair(loop), reader(pair.stream, side, 65'536) {}
  ReadError head(std::string_view text) {
    pair.say(text);
    return loop.run(reader.read_head());
  }
  Loop loop;
  Pair pair;
  MessageReader reader;
};

TEST_CASE("a message without a body is done at once; what follows stays buffered") {
  OneReader one;
  REQUIRE_EQ(one.head("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\nrest"),
             ReadError::none);
  CHECK(one.reader.body_done());
  CHECK(one.reader.body_ready());
  CHECK(one.reader.has_buffered());
  CHECK_EQ(one.reader.bytes_read(), 27);
  CHECK_EQ(one.loop.run(one.reader.wait_for_bytes()), ReadError::none);
  REQUIRE_EQ(one.loop.run(one.reader.read_head()), ReadError::none);
  CHECK_EQ(one.reader.head().target, "/2");
  CHECK_EQ(one.reader.take_buffered(), "rest");
  CHECK_FALSE(one.reader.has_buffered());
}

TEST_CASE("body_ready says whether reading would wait") {
  OneReader one;
  REQUIRE_EQ(one.head("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;ext"),
             ReadError::none);
  CHECK_FALSE(one.reader.body_ready());  // half a chunk line is no body
  std::string body;
  one.pair.say("\r\nab");
  REQUIRE_EQ(one.loop.run(one.reader.read_body(body)), ReadError::none);
  CHECK_EQ(body, "ab");
  CHECK_FALSE(one.reader.body_ready());
  one.pair.say("cde\r\n1\r\nf\r\n0\r\n\r\n");
  REQUIRE_EQ(one.loop.run(one.reader.read_body(body, 3)), ReadError::none);
  CHECK_EQ(body, "abcde");
  CHECK(one.reader.body_ready());
  CHECK_FALSE(one.reader.body_done());
  REQUIRE_EQ(one.loop.run(one.reader.read_body(body, 3)), ReadError::none);
  CHECK_EQ(body, "abcdef");
  CHECK(one.reader.body_done());  // its last chunk had come along
}

TEST_CASE("a failed head leaves nothing of the one before") {
  OneReader one;
  REQUIRE_EQ(
      one.head("GET /secret HTTP/1.1\r\nHost: x\r\nX-Long: " + std::string(3000, 'a') + "\r\n\r\n"),
      ReadError::none);
  REQUIRE_EQ(one.head("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), ReadError::malformed);
  CHECK_EQ(one.reader.head().target, "");
  CHECK(one.reader.head().fields.empty());
  CHECK_FALSE(one.reader.head().keep_alive);
  CHECK_EQ(one.reader.detail(), "a Host that is not one");
}

TEST_CASE("a large body streams through in large pieces and bounded memory") {
  OneReader one(MessageReader::Side::responses);
  constexpr std::size_t size = 64 * 1024 * 1024;
  Pair& pair = one.pair;
  pair.peer.non_blocking(true);
  one.loop.spawn([&]() -> Awaitable<> {
    const std::string head =
        "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n";
    co_await asio::async_write(pair.peer, asio::buffer(head), use_result);
    const std::string piece(1024 * 1024, 'x');
    for (std::size_t i = 0; i < size / piece.size(); ++i)
      co_await asio::async_write(pair.peer, asio::buffer(piece), use_result);
  });
  const auto read = [&]() -> Awaitable<std::size_t> {
    std::string piece;
    std::size_t got = 0, reads = 0;
    if (co_await one.reader.read_head() != ReadError::none) co_return 0;
    while (!one.reader.body_done()) {
      piece.clear();
      if (co_await one.reader.read_body(piece) != ReadError::none) co_return 0;
      got += piece.size();
      ++reads;
      CHECK(piece.capacity() <= 128 * 1024);
    }
    CHECK(reads < 16'000);  // 4 KiB a read on average at the least
    co_return got;
  };
  CHECK_EQ(one.loop.run(read()), size);
  CHECK_EQ(one.reader.bytes_read() > size, true);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("a read over TLS waits with room for one record, not with a shared block") {
  Buffer buffer;
  CHECK_EQ(buffer.waiting_room().size(), 16'384);
  std::memcpy(buffer.room().data(), "abc", 3);
  buffer.filled(3);
  buffer.consume(1);
  CHECK_EQ(buffer.waiting_room().size(), 16'384);
  CHECK_EQ(buffer.rest(), "bc");
  buffer.room();
  CHECK_EQ(buffer.rest(), "bc");
  buffer.consume(2);
  buffer.park();
  CHECK_GT(buffer.room().size(), 16'384);
  CHECK_EQ(buffer.waiting_room().size(), 16'384);
}

TEST_CASE("an idle connection holds little memory") {
  Loop loop;
  std::vector<std::unique_ptr<Pair>> pairs;
  std::vector<std::unique_ptr<MessageReader>> readers;
  constexpr std::size_t count = 50;
  for (std::size_t i = 0; i < count; ++i) pairs.push_back(std::make_unique<Pair>(loop));
  const std::string head = "POST / HTTP/1.1\r\nHost: x\r\nX-Big: " + std::string(20'000, 'a') +
                           "\r\nContent-Length: 200000\r\n\r\n" + std::string(200'000, 'b');
  const auto before = ::mallinfo2().uordblks;
  for (auto& pair : pairs) {
    auto& reader = *readers.emplace_back(std::make_unique<MessageReader>(
        pair->stream, MessageReader::Side::requests, std::size_t{65'536}));
    loop.spawn([&]() -> Awaitable<> {
      co_await reader.read_head();
      for (std::string piece; !reader.body_done(); piece.clear()) co_await reader.read_body(piece);
      co_await reader.wait_for_bytes();
    });
    pair->peer.non_blocking(true);
    loop.spawn([&]() -> Awaitable<> {
      co_await asio::async_write(pair->peer, asio::buffer(head), use_result);
    });
    loop.turn_until([&] { return reader.body_done() && reader.bytes_read() == head.size(); });
    loop.settle();
  }
  const auto each = (::mallinfo2().uordblks - before) / count;
  CAPTURE(each);
  CHECK(each < 16 * 1024);
  for (auto& pair : pairs) pair->end();
  loop.settle();
}

TEST_CASE("a connection that waits for the rest of a head or a body holds little more than that") {
  for (const std::string text :
       {"POST / HTTP/1.1\r\nHost: x\r\nX-Half: ",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;half="}) {
    Loop loop;
    std::vector<std::unique_ptr<OneReader>> readers;
    constexpr std::size_t count = 50;
    for (std::size_t i = 0; i < count; ++i)
      readers.push_back(std::make_unique<OneReader>(MessageReader::Side::requests));
    const auto before = ::mallinfo2().uordblks;
    for (auto& one : readers) {
      one->loop.spawn([&reader = one->reader]() -> Awaitable<> {
        co_await reader.read_head();
        for (std::string piece; !reader.body_done(); piece.clear())
          if (co_await reader.read_body(piece) != ReadError::none) break;
      });
      one->pair.say(text);
      one->loop.settle();
    }
    const auto each = (::mallinfo2().uordblks - before) / count;
    CAPTURE(each);
    CHECK(each < 16 * 1024);
    for (auto& one : readers) {
      one->pair.end();
      one->loop.settle();
    }
  }
}
#endif

}  // namespace
}  // namespace ledger::test
