// Streams and their deadlines.
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "tests/proxy_net_support.h"

namespace ledger::test {
namespace {

using std::chrono::milliseconds;

// Writes until the peer, which reads nothing, has stopped us.
Awaitable<ErrorCode> write_without_end(Stream& stream) {
  const std::string piece(1024 * 1024, 'x');
  for (;;) {
    const auto written = co_await stream.write(asio::buffer(piece));
    if (written.error) co_return written.error;
  }
}

TEST_CASE("a read that lasts too long times out, and the stream can be used again") {
  Loop loop;
  Pair pair(loop);
  std::string buffer(10, '\0');
  pair.stream.expires_after(milliseconds(60));
  const auto begun = SteadyClock::now();
  CHECK(loop.run(read_into(pair.stream, buffer)).error == asio::error::timed_out);
  CHECK(SteadyClock::now() - begun >= milliseconds(60));
  CHECK(loop.run(read_into(pair.stream, buffer)).error == asio::error::timed_out);  // still
  pair.stream.expires_never();
  pair.say("late");
  CHECK_EQ(loop.run(read_into(pair.stream, buffer)).bytes, 4);
}

TEST_CASE("a deadline that has passed already is honoured, even where data is there") {
  Loop loop;
  Pair pair(loop);
  pair.say("x");
  std::string buffer(10, '\0');
  pair.stream.expires_at(SteadyClock::now() - milliseconds(1));
  CHECK(loop.run(read_into(pair.stream, buffer)).error == asio::error::timed_out);
  CHECK(loop.run(pair.stream.write(asio::buffer("x", 1))).error == asio::error::timed_out);
}

TEST_CASE("a write that the peer does not take times out") {
  Loop loop;
  Pair pair(loop);
  pair.stream.expires_after(milliseconds(60));
  CHECK(loop.run(write_without_end(pair.stream)) == asio::error::timed_out);
}

TEST_CASE("a deadline may be moved while an operation is under way") {
  Loop loop;
  Pair pair(loop);
  std::string buffer(10, '\0');
  std::optional<Transfer> got;
  const auto begin = [&] {
    got.reset();
    loop.spawn([&]() -> Awaitable<> { got = co_await read_into(pair.stream, buffer); });
    loop.settle();
  };
  pair.stream.expires_after(std::chrono::hours(1));
  begin();
  pair.stream.expires_after(milliseconds(1));  // earlier
  loop.turn_until([&] { return got.has_value(); });
  CHECK(got->error == asio::error::timed_out);

  pair.stream.expires_after(milliseconds(80));
  begin();
  pair.stream.expires_after(std::chrono::hours(1));  // later
  loop.context.restart();
  loop.context.run_for(milliseconds(250));
  CHECK_FALSE(got.has_value());
  pair.say("abc");
  loop.turn_until([&] { return got.has_value(); });
  CHECK_EQ(got->bytes, 3);
}

TEST_CASE("a deadline beyond the wheel's turn is met, neither early nor never") {
  Loop loop;
  Pair pair(loop);
  std::string buffer(10, '\0');
  const auto begun = SteadyClock::now();
  pair.stream.expires_after(milliseconds(3500));
  CHECK(loop.run(read_into(pair.stream, buffer)).error == asio::error::timed_out);
  const auto took = SteadyClock::now() - begun;
  CHECK(took >= milliseconds(3500));
  CHECK(took < milliseconds(10'000));
}

TEST_CASE("both directions time out, and each says so") {
  Loop loop;
  Pair pair(loop);
  std::string buffer(10, '\0');
  std::optional<ErrorCode> read, written;
  pair.stream.expires_after(milliseconds(80));
  loop.spawn([&]() -> Awaitable<> {
    read = (co_await read_into(pair.stream, buffer)).error;
    // A next operation at once must not hide why the other one ended.
    pair.stream.expires_after(std::chrono::hours(1));
    co_await read_into(pair.stream, buffer);
  });
  loop.spawn([&]() -> Awaitable<> { written = co_await write_without_end(pair.stream); });
  loop.turn_until([&] { return read.has_value() && written.has_value(); });
  CHECK(*read == asio::error::timed_out);
  CHECK(*written == asio::error::timed_out);
  pair.end();
  loop.settle();
}

TEST_CASE("many streams with many deadlines, some gone before theirs") {
  Loop loop;
  std::vector<std::unique_ptr<Pair>> pairs;
  std::vector<std::string> buffers(60, std::string(10, '\0'));
  std::size_t timed_out = 0, ended = 0;
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    auto& pair = *pairs.emplace_back(std::make_unique<Pair>(loop));
    pair.stream.expires_after(milliseconds(50 + 7 * i));
    if (i % 3 == 0) {
      pairs.pop_back();  // filed, and destroyed
      ++timed_out, ++ended;
      continue;
    }
    if (i % 3 == 1) pair.stream.expires_after(milliseconds(1));
    loop.spawn([&, i]() -> Awaitable<> {
      const auto got = co_await read_into(pair.stream, buffers[i]);
      if (got.error == asio::error::timed_out) ++timed_out;
      ++ended;
    });
  }
  loop.turn_until([&] { return ended == buffers.size(); });
  CHECK_EQ(timed_out, buffers.size());
}

TEST_CASE("without deadlines nothing ticks") {
  Loop loop;
  Pair pair(loop);
  pair.stream.expires_after(milliseconds(1));
  pair.stream.expires_never();
  loop.context.run();  // returns: the wheel has stopped
  CHECK(loop.context.stopped());
}

TEST_CASE("closing ends what is under way") {
  Loop loop;
  Pair pair(loop);
  std::string buffer(10, '\0');
  std::optional<ErrorCode> read, written;
  pair.stream.expires_after(std::chrono::hours(1));
  loop.spawn([&]() -> Awaitable<> { read = (co_await read_into(pair.stream, buffer)).error; });
  loop.spawn([&]() -> Awaitable<> { written = co_await write_without_end(pair.stream); });
  loop.settle();
  pair.stream.close();
  pair.stream.close();
  loop.turn_until([&] { return read.has_value() && written.has_value(); });
  CHECK(*read == asio::error::operation_aborted);
  CHECK(*written == asio::error::operation_aborted);
  CHECK_FALSE(pair.stream.idle_and_open());
}

TEST_CASE("what is written arrives whole and in order") {
  Loop loop;
  Pair pair(loop);
  std::string text(3'000'000, '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * i % 251);
  // Of two parts, one of them may be empty; a send takes less than either.
  const auto middle = text.size() / 2;
  const std::array<asio::const_buffer, 2> buffers{asio::buffer(text.data(), middle),
                                                  asio::buffer(text) + middle};
  std::string heard(2 * text.size(), '\0');
  pair.peer.non_blocking(true);
  bool all = false;
  loop.spawn([&]() -> Awaitable<> {
    co_await asio::async_read(pair.peer, asio::buffer(heard), use_result);
    all = true;
  });
  CHECK_EQ(loop.run(pair.stream.write(buffers)).bytes, text.size());
  CHECK_EQ(loop.run(pair.stream.write(asio::buffer(text))).bytes, text.size());
  loop.turn_until([&] { return all; });
  CHECK(heard == text + text);
}

TEST_CASE("an end is an end, a reset an error, and both show on an idle stream") {
  Loop loop;
  std::string buffer(10, '\0');
  Pair ended(loop), reset(loop), spoken(loop), open(loop);
  CHECK(ended.stream.idle_and_open());
  ended.end();
  reset.reset();
  spoken.say("unasked");
  CHECK_FALSE(ended.stream.idle_and_open());
  CHECK_FALSE(reset.stream.idle_and_open());
  CHECK_FALSE(spoken.stream.idle_and_open());
  CHECK(open.stream.idle_and_open());
  for (int again = 0; again < 2; ++again) {  // an end stays one
    CHECK(loop.run(read_into(ended.stream, buffer)).error == asio::error::eof);
    CHECK(loop.run(read_into(reset.stream, buffer)).error);
    CHECK_FALSE(ended.stream.idle_and_open());
  }
  CHECK_EQ(loop.run(read_into(spoken.stream, buffer)).bytes, 7);

  // The other half stays open after our end.
  loop.run(open.stream.shutdown_send());
  open.say("x");
  CHECK_EQ(loop.run(read_into(open.stream, buffer)).bytes, 1);
  char byte = 0;
  ErrorCode error;
  open.peer.read_some(asio::buffer(&byte, 1), error);
  CHECK(error == asio::error::eof);
}

TEST_CASE("a write after the peer is gone is an error, not a signal") {
  Loop loop;
  Pair pair(loop);
  pair.reset();
  loop.run(pair.stream.write(asio::buffer("a", 1)));
  CHECK(loop.run(pair.stream.write(asio::buffer("a", 1))).error);
}

TEST_CASE("small pieces are not held back") {
  Loop loop;
  Pair pair(loop);
  int value = 0;
  socklen_t size = sizeof value;
  ::getsockopt(pair.stream.socket().native_handle(), IPPROTO_TCP, TCP_NODELAY, &value, &size);
  CHECK_EQ(value, 1);
}

}  // namespace
}  // namespace ledger::test
