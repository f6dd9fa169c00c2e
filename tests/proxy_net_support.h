// Real sockets on loopback for the tests of proxy/: one io_context, and peers that say exactly what
// a test wants, in the pieces that it wants. Nothing is ordered by sleeping.
#pragma once

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <optional>
#include <string>
#include <vector>

#include "proxy/message.h"
#include "proxy/stream.h"

namespace ledger::test {

using tcp = asio::ip::tcp;
using Acceptor = asio::basic_socket_acceptor<tcp, Executor>;

struct Loop {
  asio::io_context context{1};
  Deadlines deadlines{context};

  // Runs a coroutine to its end, and whatever else is spawned meanwhile.
  template <class T>
  T run(Awaitable<T> work) {
    std::optional<T> result;
    asio::co_spawn(context, std::move(work), [&](std::exception_ptr e, T value) {
      if (e) std::rethrow_exception(e);
      result.emplace(std::move(value));
    });
    turn_until([&] { return result.has_value(); });
    return std::move(*result);
  }
  void run(Awaitable<> work) {
    run([](Awaitable<> w) -> Awaitable<bool> {
      co_await std::move(w);
      co_return true;
    }(std::move(work)));
  }
  template <class Done>
  void turn_until(Done done) {
    const auto patience = SteadyClock::now() + std::chrono::seconds(60);
    while (!done()) {
      context.restart();
      context.run_one_for(std::chrono::seconds(1));
      REQUIRE(SteadyClock::now() < patience);
    }
  }
  // Everything that can go on without waiting.
  void settle() {
    context.restart();
    while (context.poll() > 0) context.restart();
  }
  template <class Work, class... Objects>
  void spawn(Work work) {
    asio::co_spawn(context, std::move(work), [](std::exception_ptr e) {
      if (e) std::rethrow_exception(e);
    });
  }
};

inline Acceptor listen_on_loopback(asio::io_context& context) {
  return Acceptor(context, {asio::ip::address_v4::loopback(), 0});
}

// A connection: our end to wrap, and the peer's, used with blocking calls (the kernel's buffers
// hold what tests send).
struct Ends {
  explicit Ends(asio::io_context& context) : ours(context), peer(context) {
    auto acceptor = listen_on_loopback(context);
    peer.connect(acceptor.local_endpoint());
    acceptor.accept(ours);
    peer.set_option(tcp::no_delay(true));
  }
  Ends(Socket one, Socket other) : ours(std::move(one)), peer(std::move(other)) {}
  Socket ours, peer;
};

// Ends without TCP: for so many connections that their ports would run out.
inline Ends local_ends(asio::io_context& context) {
  int ends[2] = {};
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  return {Socket(context, tcp::v4(), ends[0]), Socket(context, tcp::v4(), ends[1])};
}

struct Pair {
  explicit Pair(Loop& loop) : Pair(loop, Ends(loop.context)) {}
  Pair(Loop& loop, Ends ends)
      : stream(std::move(ends.ours), loop.deadlines), peer(std::move(ends.peer)) {}
  void say(std::string_view text) { asio::write(peer, asio::buffer(text.data(), text.size())); }
  void end() {
    ErrorCode ignored;
    peer.shutdown(tcp::socket::shutdown_send, ignored);
  }
  void reset() {
    peer.set_option(asio::socket_base::linger(true, 0));
    peer.close();
  }
  std::string hear(std::size_t n) {
    std::string text(n, '\0');
    asio::read(peer, asio::buffer(text));
    return text;
  }

  Stream stream;
  Socket peer;
};

inline Awaitable<Transfer> read_into(Stream& stream, std::string& to) {
  Buffer buffer;
  const auto got = co_await stream.read_some(buffer);
  to = buffer.rest();
  co_return got;
}

// What a MessageReader made of a stream: each whole message, and how it ended.
struct ReadMessage {
  std::string first;  // "POST /x" or "200 OK"
  std::vector<std::pair<std::string, std::string>> fields;
  Framing framing = Framing::none;
  bool keep_alive = false;
  std::string body;
  bool operator==(const ReadMessage&) const = default;
};
struct ReadStream {
  std::vector<ReadMessage> messages;
  ReadError end = ReadError::none;
  std::string detail;
  bool operator==(const ReadStream&) const = default;
};

struct Reading {
  MessageReader::Side side = MessageReader::Side::requests;
  bool to_head = false;
  std::size_t head_max = 65'536;
  std::size_t max = 64 * 1024;  // of one read of a body
};

inline Awaitable<> read_everything(MessageReader& reader, Reading how, ReadStream& to, bool& done) {
  for (;;) {
    to.end = co_await reader.read_head(how.to_head);
    if (to.end != ReadError::none) break;
    const auto& head = reader.head();
    auto& m = to.messages.emplace_back();
    m.first = how.side == MessageReader::Side::requests
                  ? std::string(head.method) + " " + std::string(head.target)
                  : std::to_string(head.status) + " " + std::string(head.reason);
    for (const auto& f : head.fields) m.fields.emplace_back(f.name, f.value);
    m.framing = head.framing;
    m.keep_alive = head.keep_alive;
    std::string piece;
    while (to.end == ReadError::none && !reader.body_done()) {
      const auto before = m.body.size();
      to.end = co_await reader.read_body(m.body, how.max);
      // A promise: something came of it, or the end; and no more than asked for.
      if (to.end == ReadError::none && m.body.size() == before) CHECK(reader.body_done());
      CHECK(m.body.size() - before <= how.max);
    }
    if (to.end != ReadError::none) {
      to.messages.pop_back();
      break;
    }
  }
  to.detail = reader.detail();
  done = true;
}

// Sends `pieces` one after the other, each read before the next one goes out, then FIN.
inline ReadStream read_pieces(const std::vector<std::string_view>& pieces, Reading how = {}) {
  Loop loop;
  Pair pair(loop, local_ends(loop.context));
  MessageReader reader(pair.stream, how.side, how.head_max);
  ReadStream result;
  bool done = false;
  loop.spawn([&]() -> Awaitable<> { return read_everything(reader, how, result, done); });
  for (const auto piece : pieces) {
    if (done) break;
    pair.say(piece);
    loop.settle();
  }
  pair.end();
  loop.turn_until([&] { return done; });
  return result;
}

inline ReadStream read_text(std::string_view text, Reading how = {}) {
  return read_pieces({text}, how);
}
inline std::vector<std::string_view> bytewise(std::string_view text) {
  std::vector<std::string_view> pieces;
  for (std::size_t i = 0; i < text.size(); ++i) pieces.push_back(text.substr(i, 1));
  return pieces;
}

constexpr Reading responses{MessageReader::Side::responses};

}  // namespace ledger::test

namespace doctest {
template <>
struct StringMaker<ledger::ReadError> {
  static String convert(ledger::ReadError e) {
    static constexpr const char* names[] = {"none",           "closed",         "truncated",
                                            "timed_out",      "head_too_large", "malformed",
                                            "not_implemented"};
    return names[static_cast<std::size_t>(e)];
  }
};
}  // namespace doctest
