#include "fingerprint/body.h"
#include "fingerprint/inflate.h"
#include "tests/fingerprint_support.h"

namespace ledger::test {
namespace {

Case typed(std::string type, std::string body) {
  Case c;
  c.body = std::move(body);
  return c.with("Content-Type", std::move(type));
}

std::string kind(const Case& c) { return std::string(c.canonical().kind); }

std::string part(const std::string& head, const std::string& content) {
  return head + "\r\n\r\n" + content;
}

Case multipart(const std::string& boundary, const std::vector<std::string>& parts) {
  std::string body;
  for (const auto& p : parts) body += "--" + boundary + "\r\n" + p + "\r\n";
  return typed("multipart/form-data; boundary=" + boundary, body + "--" + boundary + "--\r\n");
}

std::string field(const std::string& name) {
  return "Content-Disposition: form-data; name=\"" + name + "\"";
}

}  // namespace

TEST_CASE("the media type chooses the kind of a body") {
  for (const auto* type :
       {"application/json", "Application/JSON; charset=utf-8", "text/json",
        "application/vnd.api+json", "application/problem+JSON ;a=b", "application/x-amz-json-1.1"})
    CHECK(kind(typed(type, "{}")) == "json");
  for (const auto* type : {"text/plain", "application/octet-stream", "application/jsonx", "",
                           "application/x-ndjson", "json"})
    CHECK(kind(typed(type, "{}")) == "raw");
  CHECK(kind(typed("application/x-www-form-urlencoded; charset=utf-8", "a=1")) == "form");
  Case untyped;
  untyped.body = "{}";
  CHECK(kind(untyped) == "raw");
  CHECK(kind(json("")) == "empty");
  CHECK(kind(Case{}) == "empty");
}

TEST_CASE("JSON that is not canonical is its exact bytes") {
  for (const std::string body : {"{\"a\":1,\"a\":2}", "{", " ", "\"\xff\"", "\xEF\xBB\xBF{}"}) {
    CHECK(kind(json(body)) == "raw");
    CHECK(json(body).canonical().bytes == body);
    CHECK(json(body).fingerprint() == typed("text/plain", body).fingerprint());
  }
  CHECK(json("{\"a\":1,\"a\":2}").fingerprint() != json("{\"a\":1, \"a\":2}").fingerprint());
}

TEST_CASE("a raw body's media type is not identity, a body's kind is") {
  CHECK(typed("text/plain", "{}").fingerprint() == typed("image/png", "{}").fingerprint());
  CHECK(typed("text/plain", "{}").fingerprint() != json("{}").fingerprint());
  CHECK(typed("text/plain", "a=1").fingerprint() != form("a=1").fingerprint());
}

TEST_CASE("a form is its decoded pairs, sorted by name, in order among equal names") {
  CHECK(form("b=2&a=1&b=1").canonical().bytes == "a=1&b=2&b=1");
  CHECK(form("b=2&a=1&b=1").fingerprint() == form("a=%31&&b=2&b=1&").fingerprint());
  CHECK(form("b=2&b=1").fingerprint() != form("b=1&b=2").fingerprint());
  CHECK(form("a=x+y").fingerprint() == form("a=x%20y").fingerprint());
  CHECK(form("a=x%2By").fingerprint() != form("a=x%20y").fingerprint());
  CHECK(form("a=1%26b=2").fingerprint() != form("a=1&b=2").fingerprint());
  CHECK(form("a").fingerprint() == form("a=").fingerprint());
  CHECK(kind(form("&")) == "form");
}

TEST_CASE("ignored form fields are named as they are when decoded") {
  const auto fields = [](std::string body) {
    return form(std::move(body)).ignore("form:metadata[trace_id]").fingerprint();
  };
  CHECK(fields("amount=1&metadata[trace_id]=7") == fields("metadata%5Btrace_id%5D=8&amount=1"));
  CHECK(fields("amount=1&metadata[trace_id]=7") == fields("amount=1"));
  CHECK(fields("amount=1&metadata[id]=7") != fields("amount=1"));
  // The rules of one kind of body do not touch another.
  CHECK(json(R"({"a":1})").ignore("form:a").canonical().bytes == R"({"a":1e0})");
  CHECK(form("a=1").ignore("body:/a").ignore("query:a").canonical().bytes == "a=1");
}

TEST_CASE("a compressed body is what it holds") {
  const std::string body = R"({"amount":4900, "currency":"usd"})";
  const auto plain = json(body).fingerprint();
  const auto coded = [&](std::string coding, int window_bits) {
    return json(deflated(body, window_bits)).with("content-encoding", std::move(coding));
  };
  for (const auto* coding : {"gzip", "x-gzip", "GZIP"})
    CHECK(coded(coding, 31).fingerprint() == plain);
  CHECK(coded("deflate", 15).fingerprint() == plain);
  CHECK(coded("deflate", -15).fingerprint() == plain);
  CHECK(json(body).with("Content-Encoding", "identity").fingerprint() == plain);
  // Two members of one gzip file (RFC 1952 section 2.2).
  const auto two = deflated(body.substr(0, 9), 31) + deflated(body.substr(9), 31);
  CHECK(json(two).with("Content-Encoding", "gzip").fingerprint() == plain);
  // What has no structure is identified by what it holds too.
  CHECK(typed("image/x", deflated("abc", 31)).with("Content-Encoding", "gzip").canonical().bytes ==
        "abc");
  CHECK(kind(json(deflated("", 31)).with("Content-Encoding", "gzip")) == "empty");
}

TEST_CASE("a body that is not of its coding is its exact bytes") {
  const auto gzipped = deflated(R"({"a":1})", 31);
  const auto kept = [](std::string body, std::string coding) {
    const auto c = json(body).with("Content-Encoding", std::move(coding));
    return c.canonical().kind == "raw" && c.canonical().bytes == body;
  };
  CHECK(kept(R"({"a":1})", "gzip"));
  CHECK(kept(gzipped.substr(0, gzipped.size() - 1), "gzip"));
  CHECK(kept(gzipped + "x", "gzip"));
  CHECK(kept(gzipped, "br"));
  CHECK(kept(gzipped, "gzip, gzip"));
  CHECK(kept(gzipped, "deflate"));
  CHECK(kept(deflated(R"({"a":1})", 15) + "x", "deflate"));
  CHECK(kept("b=1&a=2", "br"));
  CHECK(form("b=1&a=2").with("Content-Encoding", "br").canonical().bytes == "b=1&a=2");
}

TEST_CASE("inflation is bounded") {
  // By the policy's body_max, whose default this is.
  const std::size_t most = std::size_t{1} << 20;
  const auto full = deflated("{" + std::string(most - 2, ' ') + "}", 31);
  const auto bomb = deflated("{" + std::string(most - 1, ' ') + "}", 31);
  CHECK(json(full).with("Content-Encoding", "gzip").canonical().bytes == "{}");
  CHECK(json(bomb).with("Content-Encoding", "gzip").canonical().bytes == bomb);
  for (const std::size_t size : {0, 1, 255, 256, 257, 5000}) {
    const std::string text(size, 'x');
    for (const int window_bits : {31, 15, -15}) {
      const auto* coding = window_bits == 31 ? "gzip" : "deflate";
      CHECK(inflate_content(coding, deflated(text, window_bits), size) == text);
      if (size > 0) CHECK_FALSE(inflate_content(coding, deflated(text, window_bits), size - 1));
    }
  }
  CHECK_FALSE(inflate_content("gzip", "", 10));
}

TEST_CASE("piece by piece the same comes out as in one") {
  std::string text;
  for (int i = 0; i < 60'000; ++i) text += std::to_string(i * 7919);
  const auto pieces = [](std::string_view coding, std::string_view bytes, std::size_t most) {
    Inflater inflater(coding, bytes);
    std::string out;
    auto step = Inflater::Step::more;
    while (step == Inflater::Step::more) step = inflater.step(out, most);
    return step == Inflater::Step::done ? std::optional(out) : std::nullopt;
  };
  for (const std::size_t most : {1'000, 65'536, 1 << 20}) {
    for (const int window_bits : {31, 15, -15}) {
      const auto* coding = window_bits == 31 ? "gzip" : "deflate";
      const auto whole = deflated(text, window_bits);
      CHECK(pieces(coding, whole, most) == text);
      CHECK_FALSE(pieces(coding, whole.substr(0, whole.size() - 1), most));
      CHECK_FALSE(pieces(coding, whole + "x", most));
    }
    CHECK(pieces("x-gzip", deflated(text, 31) + deflated("", 31) + deflated("end", 31), most) ==
          text + "end");
    CHECK_FALSE(pieces("gzip", text, most));
  }
  CHECK_FALSE(is_inflatable("gzip, gzip"));
}

TEST_CASE("of multipart the boundary and the preamble are not identity") {
  const std::vector<std::string> parts = {
      part(field("note"), "hello"),
      part(field("file") + "; filename=\"a.txt\"\r\nContent-Type: text/plain", "line\r\n")};
  const auto expected = multipart("x", parts).fingerprint();
  CHECK(kind(multipart("x", parts)) == "multipart");
  CHECK(multipart("----WebKitFormBoundary7MA4", parts).fingerprint() == expected);
  auto quoted = multipart("x", parts);
  quoted.headers[0].second = "multipart/form-data; charset=utf-8; Boundary=\"x\"";
  CHECK(quoted.fingerprint() == expected);
  auto around = multipart("x", parts);
  around.body += "an epilogue";
  // Of every length, so that the first delimiter stands at every place.
  for (std::size_t length = 2; length < 12; ++length) {
    auto led = around;
    led.body = std::string(length - 2, 'p') + "\r\n" + led.body;
    CHECK(led.fingerprint() == expected);
  }
}

TEST_CASE("of multipart the parts' order, names, file names, types and contents are identity") {
  const auto expected =
      multipart("x", {part(field("a"), "1"), part(field("b"), "2")}).fingerprint();
  const auto differs = [&](const std::vector<std::string>& parts) {
    const auto c = multipart("x", parts);
    return kind(c) == "multipart" && c.fingerprint() != expected;
  };
  CHECK(differs({part(field("b"), "2"), part(field("a"), "1")}));
  CHECK(differs({part(field("a"), "1")}));
  CHECK(differs({part(field("a"), "1"), part(field("b"), "3")}));
  CHECK(differs({part(field("a"), "1"), part(field("c"), "2")}));
  CHECK(differs({part(field("a") + "; filename=f", "1"), part(field("b"), "2")}));
  CHECK(differs({part(field("a") + "; filename=\"\"", "1"), part(field("b"), "2")}));
  CHECK(differs({part(field("a") + "\r\nContent-Type: image/png", "1"), part(field("b"), "2")}));
  CHECK(differs({part(field("a"), "1\r\n"), part(field("b"), "2")}));
  const auto named = [](const std::string& parameters) {
    return multipart("x", {part("Content-Disposition: form-data; name=a; " + parameters, "1")})
        .fingerprint();
  };
  CHECK(named("filename=\"f\"") == named("FileName=f"));
  CHECK(named("filename=\"a;b\"") != named("filename=\"a\""));
  CHECK(named("filename=\"a\\\"b\"") != named("filename=\"ab\""));
  CHECK(named("filename=\"C:\\dir\\f\"") != named("filename=\"C:dirf\""));
  CHECK(named("filename=x; filename*=UTF-8''%C3%A9") == named("filename*=UTF-8''%C3%A9"));
  CHECK(named("filename=x; filename*=UTF-8''%C3%A9") != named("filename=x"));
  CHECK(named("flag; filename=f") == named("filename=f"));
}

TEST_CASE("multipart that is not what its boundary says is its exact bytes") {
  const auto raw = [](const std::string& type, const std::string& body) {
    const auto c = typed(type, body);
    return c.canonical().kind == "raw" && c.canonical().bytes == body;
  };
  const std::string type = "multipart/form-data; boundary=x";
  CHECK(raw("multipart/form-data", "--x--"));
  CHECK(raw("multipart/form-data; boundary=\"\"", "--\r\n\r\n\r\n----"));
  CHECK(raw(type, "no delimiter"));
  CHECK(raw(type, "--x"));
  CHECK(raw(type, "--x\r\n"));
  CHECK(raw(type, "--x\r\nA: b\r\n\r\nnot closed"));
  CHECK(raw(type, "--x\r\nA: b\r\n\r\nnot closed\r\n--x\r\n"));
  CHECK(raw(type, "--x\r\nno field\r\n\r\n1\r\n--x--"));
  CHECK(raw(type, "--xy\r\nA: b\r\n\r\n1\r\n--x--"));
  CHECK(raw(type, "--x\nA: b\n\n1\n--x--"));
  CHECK(raw(type, "--x\r\n--x--"));                     // not even the end of the delimiter's line
  CHECK(raw(type, "--x\r\nA: b\r\n--x--"));             // nor of the header field's
  CHECK(raw(type, "--x\r\n--x: y\r\n\r\n1\r\n--x--"));  // a delimiter within a head
  // RFC 2046 lets a part without content leave out the empty line.
  CHECK(typed(type, "--x\r\nA: b\r\n\r\n--x--").fingerprint() ==
        typed(type, "--x\r\nA: b\r\n\r\n\r\n--x--").fingerprint());
  CHECK(kind(typed(type, "--x\r\nA: b\r\n\r\n--x--")) == "multipart");
  CHECK(kind(typed(type, "--x--")) == "multipart");
  CHECK(kind(typed(type, "--x \r\n\r\nno head\r\n--x--")) == "multipart");
  CHECK(kind(typed(type, "--x\r\n\r\n\r\n--x--")) == "multipart");
}

TEST_CASE("form rules reach the fields of multipart") {
  const auto made = [](std::string trace) {
    return multipart("x", {part(field("trace"), std::move(trace)), part(field("order"), "7")});
  };
  CHECK(made("1").ignore("form:trace").fingerprint() ==
        made("2").ignore("form:trace").fingerprint());
  CHECK(made("1").fingerprint() != made("2").fingerprint());
  CHECK(made("1").key("o-${form:order}").identity().key == "o-7");
}

}  // namespace ledger::test
