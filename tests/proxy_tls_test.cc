// TLS: whom we trust, how it ends, and what an idle connection may say.
#include <boost/asio/ssl/error.hpp>

#include "tests/proxy_net_support.h"
#include "tests/proxy_tls_support.h"

namespace ledger::test {
namespace {

const Identity& authority() {
  static const Identity made = make_identity({"Test authority", "", true});
  return made;
}
const Identity& good() {
  static const Identity made =
      make_identity({"localhost", "DNS:localhost,DNS:*.example.test,IP:127.0.0.1"}, &authority());
  return made;
}

// Both ends as streams on one loop.
struct TlsPair {
  explicit TlsPair(const Identity& identity = good())
      : ends(loop.context),
        client(std::move(ends.ours), loop.deadlines),
        server(std::move(ends.peer), loop.deadlines),
        server_tls(server_context(identity)),
        client_tls(client_context(authority())) {}

  ErrorCode shake(const std::string& host = "localhost") {
    std::optional<ErrorCode> served;
    loop.spawn([&]() -> Awaitable<> { served = co_await server.handshake_as_server(*server_tls); });
    const auto error = loop.run(client.handshake_as_client(*client_tls, host));
    if (error) client.close();
    loop.turn_until([&] { return served.has_value(); });
    return error;
  }
  Transfer read(Stream& stream) { return loop.run(read_into(stream, buffer)); }
  ErrorCode say(Stream& stream, const std::string& text) {
    return loop.run(stream.write(asio::buffer(text))).error;
  }

  Loop loop;
  Ends ends;
  Stream client, server;
  std::shared_ptr<asio::ssl::context> server_tls, client_tls;
  std::string buffer;
};

TEST_CASE("a certificate for the host is accepted, by name and by address") {
  for (const auto* host : {"localhost", "localhost.", "a.example.test", "127.0.0.1"}) {
    CAPTURE(host);
    TlsPair pair;
    CHECK_FALSE(pair.shake(host));
    CHECK(pair.client.is_tls());
    CHECK(pair.client.certificate_error().empty());
    CHECK_FALSE(pair.say(pair.client, "hello"));
    CHECK_EQ(pair.read(pair.server).bytes, 5);
    CHECK_FALSE(pair.say(pair.server, "hi"));
    CHECK_EQ(pair.read(pair.client).bytes, 2);
  }
}

std::string refusal(const Identity& identity, const std::string& host) {
  TlsPair pair(identity);
  CHECK(pair.shake(host));
  return pair.client.certificate_error();
}

TEST_CASE("any other certificate is refused, with the reason") {
  CHECK_EQ(refusal(good(), "other.test"), "hostname mismatch");
  CHECK_EQ(refusal(good(), "a.b.example.test"), "hostname mismatch");
  CHECK_EQ(refusal(good(), "127.0.0.2"), "IP address mismatch");
  CHECK_EQ(refusal(make_identity({"x", "DNS:localhost", false, -9, -1}, &authority()), "localhost"),
           "certificate has expired");
  CHECK_EQ(refusal(make_identity({"x", "DNS:localhost", false, 1, 9}, &authority()), "localhost"),
           "certificate is not yet valid");
  CHECK_EQ(refusal(make_identity({"localhost", "DNS:localhost"}), "localhost"),
           "self-signed certificate");
  const auto stranger = make_identity({"Somebody else", "", true});
  CHECK_EQ(refusal(make_identity({"localhost", "DNS:localhost"}, &stranger), "localhost"),
           "unable to get local issuer certificate");
}

TEST_CASE("a host that cannot be checked is not trusted") {
  TlsPair pair;
  CHECK(pair.loop.run(pair.client.handshake_as_client(*pair.client_tls, "")) ==
        asio::error::invalid_argument);
  TlsPair other;
  CHECK(other.loop.run(other.client.handshake_as_client(
            *other.client_tls, std::string("localhost\0.x", 12))) == asio::error::invalid_argument);
}

TEST_CASE("the server is told the name, never an address; http/1.1 is asked for; TLS 1.1 is not") {
  struct Seen {
    std::string name = "none", protocol;
    int version = 0;
  };
  const auto shake = [](const std::string& host) {
    TlsPair pair;
    static Seen seen;
    seen = {};
    SSL_CTX_set_client_hello_cb(
        pair.server_tls->native_handle(),
        [](SSL* ssl, int*, void*) {
          const unsigned char* data = nullptr;
          std::size_t size = 0;
          if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &size) == 1)
            seen.name.assign(reinterpret_cast<const char*>(data) + 5, size - 5);
          if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation,
                                        &data, &size) == 1)
            seen.protocol.assign(reinterpret_cast<const char*>(data) + 3, size - 3);
          return SSL_CLIENT_HELLO_SUCCESS;
        },
        nullptr);
    CHECK_FALSE(pair.shake(host));
    return seen;
  };
  CHECK_EQ(shake("localhost.").name, "localhost");
  CHECK_EQ(shake("127.0.0.1").name, "none");
  CHECK_EQ(shake("localhost").protocol, "http/1.1");

  TlsPair old;
  SSL_CTX_set_max_proto_version(old.server_tls->native_handle(), TLS1_1_VERSION);
  SSL_CTX_set_security_level(old.server_tls->native_handle(), 0);
  CHECK(old.shake());
}

TEST_CASE("a handshake times out") {
  TlsPair pair;
  pair.client.expires_after(std::chrono::milliseconds(60));
  CHECK(pair.loop.run(pair.client.handshake_as_client(*pair.client_tls, "localhost")) ==
        asio::error::timed_out);
}

TEST_CASE("late session tickets do not make an idle connection look used, data and ends do") {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    TlsPair pair;
    SSL_CTX_set_max_proto_version(pair.server_tls->native_handle(), version);
    REQUIRE_FALSE(pair.shake());
    // The server's tickets lie unread in the socket now (1.3), and more may come.
    CHECK(pair.client.idle_and_open());
    CHECK(pair.client.idle_and_open());
    CHECK_FALSE(pair.say(pair.client, "again"));
    CHECK_EQ(pair.read(pair.server).bytes, 5);
    CHECK_FALSE(pair.say(pair.server, "ok"));
    CHECK_EQ(pair.read(pair.client).bytes, 2);
    CHECK(pair.client.idle_and_open());
    SUBCASE("data") { CHECK_FALSE(pair.say(pair.server, "unasked")); }
    SUBCASE("a proper end") { pair.loop.run(pair.server.shutdown_send()); }
    SUBCASE("an end without close_notify") { pair.server.close(); }
    SUBCASE("half a record") {
      asio::write(pair.server.socket(), asio::buffer("\x17\x03\x03\x00\x40half", 9));
    }
    CHECK_FALSE(pair.client.idle_and_open());
  }
}

TEST_CASE("the end of a stream is proper with close_notify alone") {
  TlsPair proper;
  REQUIRE_FALSE(proper.shake());
  proper.say(proper.server, "last");
  proper.loop.run(proper.server.shutdown_send());  // does not wait for the client's
  CHECK_EQ(proper.read(proper.client).bytes, 4);
  CHECK(proper.read(proper.client).error == asio::error::eof);

  TlsPair cut;
  REQUIRE_FALSE(cut.shake());
  cut.say(cut.server, "last");
  cut.server.close();
  CHECK_EQ(cut.read(cut.client).bytes, 4);
  CHECK(cut.read(cut.client).error == asio::ssl::error::stream_truncated);
}

TEST_CASE("after our end the other half of a TLS stream goes on") {
  TlsPair pair;
  REQUIRE_FALSE(pair.shake());
  std::string late;
  std::optional<Transfer> got;
  pair.loop.spawn([&]() -> Awaitable<> { got = co_await read_into(pair.client, late); });
  pair.loop.settle();
  pair.loop.run(pair.client.shutdown_send());
  CHECK(pair.read(pair.server).error == asio::error::eof);
  CHECK_FALSE(got.has_value());
  CHECK_FALSE(pair.say(pair.server, "still here"));
  pair.loop.turn_until([&] { return got.has_value(); });
  CHECK_EQ(got->bytes, 10);
  pair.loop.run(pair.server.shutdown_send());
  CHECK(pair.read(pair.client).error == asio::error::eof);
}

TEST_CASE("a close-delimited answer over TLS is whole with close_notify, else truncated") {
  for (const bool proper : {true, false}) {
    TlsPair pair;
    REQUIRE_FALSE(pair.shake());
    pair.say(pair.server, "HTTP/1.1 200 OK\r\n\r\nabc");
    if (proper)
      pair.loop.run(pair.server.shutdown_send());
    else
      pair.server.close();
    MessageReader reader(pair.client, MessageReader::Side::responses, 65'536);
    ReadStream read;
    bool done = false;
    pair.loop.spawn(
        [&]() -> Awaitable<> { return read_everything(reader, responses, read, done); });
    pair.loop.turn_until([&] { return done; });
    CHECK_EQ(read.messages.size(), proper ? 1 : 0);
    // The second read finds the end of a stream that was cut, or the proper one.
    CHECK_EQ(read.end, proper ? ReadError::closed : ReadError::truncated);
  }
}

TEST_CASE("many buffers over TLS arrive as one") {
  TlsPair pair;
  REQUIRE_FALSE(pair.shake());
  const std::string head = "head", body(200'000, 'b');
  std::string heard;
  pair.loop.spawn([&]() -> Awaitable<> {
    for (std::string piece; heard.size() < head.size() + body.size(); heard += piece)
      if ((co_await read_into(pair.server, piece)).error) co_return;
  });
  const std::array<asio::const_buffer, 2> buffers{asio::buffer(head), asio::buffer(body)};
  CHECK_EQ(pair.loop.run(pair.client.write(buffers)).bytes, head.size() + body.size());
  pair.loop.turn_until([&] { return heard.size() == head.size() + body.size(); });
  CHECK(heard == head + body);
}

}  // namespace
}  // namespace ledger::test
