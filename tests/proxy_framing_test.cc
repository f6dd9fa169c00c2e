// Strict framing: each way in which two parsers could read two things is refused.
#include "tests/proxy_net_support.h"

namespace ledger::test {
namespace {

struct Case {
  const char* what;
  std::string text;
  ReadError expected = ReadError::malformed;
};

void check_all(const std::vector<Case>& cases, Reading how) {
  for (const auto& c : cases) {
    CAPTURE(c.what);
    const auto whole = read_text(c.text, how);
    CHECK_EQ(whole.end, c.expected);
    CHECK(whole.messages.empty());
    CHECK_FALSE(whole.detail.empty());
    CHECK(read_pieces(bytewise(c.text), how) == whole);  // wherever it is split
  }
}

const std::string host = "Host: x\r\n";
const std::string post = "POST /x HTTP/1.1\r\n" + host;
const std::string chunked = post + "Transfer-Encoding: chunked\r\n\r\n";
using namespace std::string_literals;

TEST_CASE("a malformed request head is refused") {
  const auto none = ReadError::not_implemented;
  check_all(
      {
          {"CL and TE", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
          {"TE and CL", post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
          {"a CL list of equals", post + "Content-Length: 5, 5\r\n\r\nabcde"},
          {"a CL list", post + "Content-Length: 5, 6\r\n\r\nabcde"},
          {"differing CLs", post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"},
          {"CL with a sign", post + "Content-Length: +5\r\n\r\nabcde"},
          {"CL in hex", post + "Content-Length: 0x5\r\n\r\nabcde"},
          {"a negative CL", post + "Content-Length: -5\r\n\r\n"},
          {"an empty CL", post + "Content-Length:\r\n\r\n"},
          {"CL beyond 64 bits", post + "Content-Length: 18446744073709551621\r\n\r\n"},
          {"CL beyond 63 bits", post + "Content-Length: 9223372036854775808\r\n\r\n"},
          {"CL with a tail", post + "Content-Length: 5 5\r\n\r\nabcde"},
          {"CL with a vertical tab", post + "Content-Length: \v5\r\n\r\nabcde"},
          {"TE twice", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
          {"TE, then identity",
           post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"},
          {"TE in 1.0", "POST /x HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n"},
          {"xchunked", post + "Transfer-Encoding: xchunked\r\n\r\n", none},
          {"chunked, identity", post + "Transfer-Encoding: chunked, identity\r\n\r\n", none},
          {"identity, chunked", post + "Transfer-Encoding: identity, chunked\r\n\r\n", none},
          {"gzip", post + "Transfer-Encoding: gzip\r\n\r\n", none},
          {"an empty TE", post + "Transfer-Encoding:\r\n\r\n", none},
          {"quoted TE", post + "Transfer-Encoding: \"chunked\"\r\n\r\n", none},
          {"TE with a parameter", post + "Transfer-Encoding: chunked;q=1\r\n\r\n", none},
          {"TE with a vertical tab", post + "Transfer-Encoding: \vchunked\r\n\r\n"},
          {"a space before the colon", post + "Transfer-Encoding : chunked\r\n\r\n"},
          {"a tab before the colon", post + "Content-Length\t: 5\r\n\r\nabcde"},
          {"a space before a name", post + " Content-Length: 5\r\n\r\nabcde"},
          {"a fold", post + "X-A: b\r\n c\r\n\r\n"},
          {"a fold with a tab", post + "X-A: b\r\n\tc\r\n\r\n"},
          {"a folded TE", post + "Transfer-Encoding:\r\n chunked\r\n\r\n"},
          {"a fold at the end", post + "X-A: b\r\n \r\n\r\n"},
          {"a fold of the first line", "POST /x HTTP/1.1\r\n X: y\r\n" + host + "\r\n"},
          {"bare LFs", "POST /x HTTP/1.1\nHost: x\n\n"},
          {"one bare LF", post + "X-A: b\nX-C: d\r\n\r\n"},
          {"a bare LF at the end", post + "X-A: b\r\n\n"},
          {"a bare CR in a value", post + "X-A: b\rc\r\n\r\n"},
          {"a bare CR in a name", post + "X\r-A: b\r\n\r\n"},
          {"a bare CR before the end", post + "X-A: b\r\r\n\r\n"},
          {"a NUL in a value", post + "X-A: b\0c\r\n\r\n"s},
          {"a NUL in a name", post + "X\0A: b\r\n\r\n"s},
          {"a NUL in the target", "POST /\0x HTTP/1.1\r\n"s + host + "\r\n"},
          {"a control character in a value", post + "X-A: b\x01\r\n\r\n"},
          {"a DEL in a value", post + "X-A: b\x7f\r\n\r\n"},
          {"no name", post + ": b\r\n\r\n"},
          {"no colon", post + "nonsense\r\n\r\n"},
          {"a name that is no token", post + "X(A): b\r\n\r\n"},
          {"a name beyond ASCII", post + "X\xc3\xa9: b\r\n\r\n"},
          {"two Hosts", post + host + "\r\n"},
          {"no Host", "POST /x HTTP/1.1\r\n\r\n"},
          {"Host with a path", "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n"},
          {"Host with a user", "GET / HTTP/1.1\r\nHost: u@x\r\n\r\n"},
          {"Host with a space", "GET / HTTP/1.1\r\nHost: x y\r\n\r\n"},
          {"a Host list", "GET / HTTP/1.1\r\nHost: x, y\r\n\r\n"},
          {"Host with a bad port", "GET / HTTP/1.1\r\nHost: x:8a\r\n\r\n"},
          {"Host with two ports", "GET / HTTP/1.1\r\nHost: x:80:81\r\n\r\n"},
          {"Host with an open bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"},
          {"two spaces", "POST  /x HTTP/1.1\r\n" + host + "\r\n"},
          {"two spaces before the version", "POST /x  HTTP/1.1\r\n" + host + "\r\n"},
          {"a space in the target", "POST /x y HTTP/1.1\r\n" + host + "\r\n"},
          {"a tab", "POST\t/x HTTP/1.1\r\n" + host + "\r\n"},
          {"a space at the end", "POST /x HTTP/1.1 \r\n" + host + "\r\n"},
          {"a method that is no token", "PO(ST /x HTTP/1.1\r\n" + host + "\r\n"},
          {"no method", " /x HTTP/1.1\r\n" + host + "\r\n"},
          {"no target", "POST HTTP/1.1\r\n" + host + "\r\n"},
          {"HTTP/0.9", "GET /x\r\n\r\n"},
          {"HTTP/1.2", "GET /x HTTP/1.2\r\n" + host + "\r\n"},
          {"HTTP/2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
          {"http/1.1", "GET /x http/1.1\r\n" + host + "\r\n"},
          {"HTTP/1.10", "GET /x HTTP/1.10\r\n" + host + "\r\n"},
          {"two empty lines first", "\r\n\r\n" + post + "\r\n"},
          {"an LF first", "\n" + post + "\r\n"},
          {"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc"s},
      },
      {});
}

TEST_CASE("a malformed response head is refused") {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  const auto none = ReadError::not_implemented;
  check_all(
      {
          {"CL and TE", ok + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
          {"differing CLs", ok + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"},
          {"a CL list", ok + "Content-Length: 5, 5\r\n\r\nabcde"},
          {"CL with a sign", ok + "Content-Length: +5\r\n\r\nabcde"},
          {"gzip, chunked", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", none},
          {"TE in 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
          {"a fold", ok + "X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n"},
          {"a bare LF", ok + "X-A: b\nContent-Length: 0\r\n\r\n"},
          {"a NUL", ok + "X-A: \0\r\n\r\n"s},
          {"an empty line first", "\r\n" + ok + "\r\n"},
          {"a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"},
          {"a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n"},
          {"a status below 100", "HTTP/1.1 099 No\r\n\r\n"},
          {"another version", "HTTP/2.0 200 OK\r\n\r\n"},
          {"another protocol", "ICY 200 OK\r\n\r\n"},
          {"a control character in the reason", "HTTP/1.1 200 O\x01K\r\n\r\n"},
      },
      responses);
}

TEST_CASE("a malformed chunk is refused") {
  check_all(
      {
          {"0x", chunked + "0x5\r\nabcde\r\n0\r\n\r\n"},
          {"a negative size", chunked + "-5\r\nabcde\r\n0\r\n\r\n"},
          {"a signed size", chunked + "+5\r\nabcde\r\n0\r\n\r\n"},
          {"no size", chunked + "\r\nabcde\r\n0\r\n\r\n"},
          {"no size but an extension", chunked + ";a=b\r\nabcde\r\n0\r\n\r\n"},
          {"a size beyond 64 bits", chunked + "fffffffffffffffff\r\nabcde\r\n0\r\n\r\n"},
          {"a size beyond 63 bits", chunked + "8000000000000000\r\nabcde\r\n0\r\n\r\n"},
          {"a size with many zeros", chunked + "00000000000000005\r\nabcde\r\n0\r\n\r\n"},
          {"a space before the size", chunked + " 5\r\nabcde\r\n0\r\n\r\n"},
          {"a space after the size", chunked + "5 \r\nabcde\r\n0\r\n\r\n"},
          {"a space before the extension", chunked + "5 ;a=b\r\nabcde\r\n0\r\n\r\n"},
          {"an empty extension", chunked + "5;\r\nabcde\r\n0\r\n\r\n"},
          {"an open quote", chunked + "5;a=\"b\r\nabcde\r\n0\r\n\r\n"},
          {"something after a quote", chunked + "5;a=\"b\"c\r\nabcde\r\n0\r\n\r\n"},
          {"a bare LF after the size", chunked + "5\nabcde\r\n0\r\n\r\n"},
          {"a bare CR after the size", chunked + "5\rabcde\r\n0\r\n\r\n"},
          {"a bare LF in an extension", chunked + "5;a=\"\n\"\r\nabcde\r\n0\r\n\r\n"},
          {"a NUL in an extension", chunked + "5;a=\0\r\nabcde\r\n0\r\n\r\n"s},
          {"a long extension", chunked + "5;" + std::string(5000, 'a') + "\r\nabcde\r\n0\r\n\r\n"},
          {"no CRLF after the data", chunked + "5\r\nabcdeX0\r\n\r\n"},
          {"a bare LF after the data", chunked + "5\r\nabcde\n0\r\n\r\n"},
          {"a bare CR after the data", chunked + "5\r\nabcde\r0\r\n\r\n"},
          {"data longer than its size", chunked + "4\r\nabcde\r\n0\r\n\r\n"},
          {"a bare LF at the end", chunked + "0\r\n\n"},
          {"a bare LF after the last chunk", chunked + "0\n\r\n"},
          {"a trailer without a colon", chunked + "0\r\nnonsense\r\n\r\n"},
          {"a folded trailer", chunked + "0\r\nX-A: b\r\n c\r\n\r\n"},
          {"a bare LF in a trailer", chunked + "0\r\nX-A: b\n\r\n"},
          {"a NUL in a trailer", chunked + "0\r\nX-A: \0\r\n\r\n"s},
          {"long trailers", chunked + "0\r\nX-A: " + std::string(9000, 'a') + "\r\n\r\n"},
      },
      {MessageReader::Side::requests, false, 8192});
}

TEST_CASE("a head may have head_max bytes and 256 fields") {
  const auto padded = [](std::size_t size) {
    const std::string head = "GET / HTTP/1.1\r\nHost: x\r\nX: ";
    return head + std::string(size - head.size() - 4, 'a') + "\r\n\r\n";
  };
  const Reading how{MessageReader::Side::requests, false, 10'000};
  for (const bool split : {false, true}) {
    const auto read = [&](const std::string& text) {
      return split ? read_pieces({text.substr(0, 3000), text.substr(3000)}, how)
                   : read_text(text, how);
    };
    CHECK_EQ(read(padded(10'000)).messages.size(), 1);
    CHECK_EQ(read(padded(10'001)).end, ReadError::head_too_large);
  }
  CHECK_EQ(read_text(std::string(10'001, 'a'), how).end, ReadError::head_too_large);
  std::string many = "GET / HTTP/1.1\r\nHost: x\r\n";
  for (int i = 0; i < 255; ++i) many += "X: y\r\n";
  CHECK_EQ(read_text(many + "\r\n").messages.at(0).fields.size(), 256);
  CHECK_EQ(read_text(many + "X: y\r\n\r\n").end, ReadError::head_too_large);
}

TEST_CASE("what is legal though rare is read") {
  const auto one = [](const std::string& text, Reading how = {}) {
    CAPTURE(text);
    const auto whole = read_text(text, how);
    CHECK(read_pieces(bytewise(text), how) == whole);
    CHECK_EQ(whole.end, ReadError::closed);
    REQUIRE_EQ(whole.messages.size(), 1);
    return whole.messages[0];
  };
  CHECK_EQ(one("\r\n" + post + "Content-Length: 1\r\n\r\na").body, "a");
  CHECK_EQ(one(post + "Content-Length: 1\r\ncontent-length: 1\r\n\r\na").body, "a");
  CHECK_EQ(one(post + "Content-Length: 0001\r\n\r\na").body, "a");
  CHECK_EQ(one(post + "transfer-encoding:\tCHUNKED \r\n\r\n1\r\na\r\n0\r\n\r\n").body, "a");
  CHECK_EQ(one(chunked + "1;a=b; c=\"d \\\"e\";f\r\na\r\n000A\r\n0123456789\r\n0;z\r\nX: y\r\n\r\n")
               .body,
           "a0123456789");
  CHECK_EQ(one(chunked + "0\r\n\r\n").body, "");
  CHECK_EQ(one(post + "X-Empty:\r\nX-Spaces: \t \r\n\r\n").fields.at(1).second, "");
  CHECK_EQ(one(post + "X:  a\tb \t\r\n\r\n").fields.at(1).second, "a\tb");
  CHECK_EQ(one(post + "X: \xc3\xa9\xff\r\n\r\n").fields.at(1).second, "\xc3\xa9\xff");
  CHECK_EQ(one("CONNECT h:443 HTTP/1.0\r\n\r\n").first, "CONNECT h:443");
  CHECK_EQ(one("CONNECT h:443 HTTP/1.1\r\n\r\n").first, "CONNECT h:443");
  CHECK_EQ(one("GET http://x/ HTTP/1.1\r\nHost:\r\n\r\n").first, "GET http://x/");
  CHECK_EQ(one("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n").first, "GET /");
  CHECK_EQ(one("M-SEARCH * HTTP/1.1\r\nHost: x:\r\n\r\n").first, "M-SEARCH *");
  CHECK_EQ(one("HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na", responses).first, "200 ");
  CHECK_EQ(one("HTTP/1.1 204\r\n\r\n", responses).framing, Framing::none);
  CHECK_EQ(one("HTTP/1.1 999 \xc3\xa9 b\r\nContent-Length: 0\r\n\r\n", responses).first,
           "999 \xc3\xa9 b");
}

TEST_CASE("keep-alive is what the peer said") {
  const auto kept = [](const std::string& text, Reading how = {}) {
    CAPTURE(text);
    const auto read = read_text(text, how);
    REQUIRE_FALSE(read.messages.empty());
    return read.messages[0].keep_alive;
  };
  const std::string old = "GET / HTTP/1.0\r\n", now = "GET / HTTP/1.1\r\nHost: x\r\n";
  CHECK(kept(now + "\r\n"));
  CHECK_FALSE(kept(now + "Connection: x, Close\r\n\r\n"));
  CHECK_FALSE(kept(now + "Connection: keep-alive\r\nConnection: close\r\n\r\n"));
  CHECK(kept(now + "Proxy-Connection: keep-alive\r\n\r\n"));
  CHECK_FALSE(kept(now + "Proxy-Connection: close\r\n\r\n"));
  CHECK_FALSE(kept(old + "\r\n"));
  CHECK_FALSE(kept(old + "Proxy-Connection: keep-alive\r\n\r\n"));
  CHECK(kept(old + "Connection: Keep-Alive\r\n\r\n"));
  CHECK(kept("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", responses));
  CHECK_FALSE(kept("HTTP/1.1 200 OK\r\n\r\nabc", responses));
  CHECK_FALSE(kept("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nabc", responses));
}

TEST_CASE("expectations and upgrades, which HTTP/1.0 does not know") {
  Loop loop;
  const auto head = [&](const std::string& text, auto look) {
    Pair pair(loop);
    MessageReader reader(pair.stream, MessageReader::Side::requests, 65'536);
    pair.say(text + "\r\n");
    REQUIRE_EQ(loop.run(reader.read_head()), ReadError::none);
    return look(reader.head());
  };
  const auto expects = [](const Head& h) { return h.expect_continue; };
  const auto upgrades = [](const Head& h) { return h.upgrade; };
  CHECK(head(post + "Expect: 100-Continue\r\n", expects));
  CHECK_FALSE(head("POST / HTTP/1.0\r\nExpect: 100-continue\r\n", expects));
  CHECK_FALSE(head(post + "Expect: something\r\n", expects));
  const std::string get = "GET / HTTP/1.1\r\nHost: x\r\n", upgrade = "Connection: upgrade\r\n";
  CHECK(head(get + "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n", upgrades));
  CHECK(head(get + upgrade + "Upgrade: h2c, WebSocket\r\n", upgrades));
  CHECK_FALSE(head(get + "Upgrade: websocket\r\n", upgrades));
  CHECK_FALSE(head(get + upgrade, upgrades));
  CHECK_FALSE(head(get + upgrade + "Upgrade: h2c\r\n", upgrades));
  CHECK_FALSE(head(get + upgrade + "Upgrade: websocket\r\nContent-Length: 1\r\n", upgrades));
  CHECK_FALSE(head(post + upgrade + "Upgrade: websocket\r\n", upgrades));
  CHECK_FALSE(head("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", upgrades));
}

TEST_CASE("an answer has switched to WebSocket alone") {
  Loop loop;
  const auto switched = [&](const std::string& fields) {
    Pair pair(loop);
    MessageReader reader(pair.stream, MessageReader::Side::responses, 65'536);
    pair.say("HTTP/1.1 101 Switching Protocols\r\n" + fields + "\r\n");
    REQUIRE_EQ(loop.run(reader.read_head()), ReadError::none);
    return reader.head().upgrade;
  };
  CHECK(switched("Connection: Upgrade\r\nUpgrade: WebSocket\r\n"));
  CHECK_FALSE(switched("Upgrade: websocket\r\n"));
  CHECK_FALSE(switched("Connection: Upgrade\r\nUpgrade: h2c\r\n"));
  CHECK_FALSE(switched("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"));
  CHECK_FALSE(switched(""));
}

TEST_CASE("headers that name a method name one method") {
  Loop loop;
  const auto read = [&](const std::string& fields) {
    Pair pair(loop);
    MessageReader reader(pair.stream, MessageReader::Side::requests, 65'536);
    pair.say(post + fields + "\r\n");
    const auto error = loop.run(reader.read_head());
    return error == ReadError::none ? std::string(reader.head().method_override) : reader.detail();
  };
  CHECK(read("X-Other: PUT\r\n").empty());
  for (const std::string name : {"X-HTTP-Method-Override", "x-http-method", "X-METHOD-override"}) {
    CAPTURE(name);
    CHECK_EQ(read(name + ": PUT\r\n"), "PUT");
    CHECK_EQ(read(name + ": \r\n"), "a method override that is no method");
    CHECK_EQ(read(name + ": PUT, GET\r\n"), "a method override that is no method");
    CHECK_EQ(read(name + ": PUT\r\n" + name + ": GET\r\n"), "two method overrides that differ");
    CHECK_EQ(read(name + ": PUT\r\nX-HTTP-Method: PUT\r\n"), "PUT");
  }
}

}  // namespace
}  // namespace ledger::test
