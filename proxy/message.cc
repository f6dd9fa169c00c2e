#include "proxy/message.h"

#include <algorithm>
#include <boost/asio/ssl/error.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/status.hpp>
#include <cstring>

namespace ledger {
namespace {

namespace http = boost::beast::http;
using boost::beast::string_view;

constexpr std::size_t fields_max = 256;
constexpr std::size_t small_read = 8 * 1024;    // what a head usually fits in
constexpr std::size_t trailer_max = 64 * 1024;  // a chunk's size line, extensions and trailers

// What the parser writes while it parses. One for each reader, its capacity reused.
struct Sink {
  struct Field {
    std::uint32_t name, name_size, value, value_size;
  };
  std::string text;
  std::vector<Field> fields;
  std::uint32_t method = 0, method_size = 0, target = 0, target_size = 0;
  int status = 0, version = 11;
  bool head_done = false;
  std::string* body = nullptr;
  std::size_t body_bytes = 0;

  void clear() {
    text.clear();
    fields.clear();
    head_done = false;
    status = 0;
    version = 11;
    target_size = method_size = 0;
    body = nullptr;
  }
  std::uint32_t keep(string_view s) {
    const auto at = static_cast<std::uint32_t>(text.size());
    text.append(s.data(), s.size());
    return at;
  }
};

template <bool isRequest>
class Parser : public http::basic_parser<isRequest> {
 public:
  explicit Parser(Sink& sink) : sink_(sink) {
    this->body_limit(boost::none);
    this->header_limit(UINT32_MAX);
  }

 private:
  void on_request_impl(http::verb, string_view method, string_view target, int version,
                       ErrorCode& error) override {
    error = {};
    sink_.method = sink_.keep(method);
    sink_.method_size = static_cast<std::uint32_t>(method.size());
    sink_.target = sink_.keep(target);
    sink_.target_size = static_cast<std::uint32_t>(target.size());
    sink_.version = version;
  }
  void on_response_impl(int status, string_view reason, int version, ErrorCode& error) override {
    error = {};
    sink_.status = status;
    sink_.target = sink_.keep(reason);
    sink_.target_size = static_cast<std::uint32_t>(reason.size());
    sink_.version = version;
  }
  void on_field_impl(http::field, string_view name, string_view value, ErrorCode& error) override {
    error = {};
    if (sink_.head_done) return;  // a trailer
    if (sink_.fields.size() >= fields_max) {
      error = http::error::header_limit;
      return;
    }
    Sink::Field f{};
    f.name = sink_.keep(name);
    f.name_size = static_cast<std::uint32_t>(name.size());
    f.value = sink_.keep(value);
    f.value_size = static_cast<std::uint32_t>(value.size());
    sink_.fields.push_back(f);
  }
  void on_header_impl(ErrorCode& error) override {
    error = {};
    sink_.head_done = true;
  }
  void on_body_init_impl(boost::optional<std::uint64_t> const&, ErrorCode& error) override {
    error = {};
  }
  std::size_t on_body_impl(string_view body, ErrorCode& error) override {
    return take(body, error);
  }
  void on_chunk_header_impl(std::uint64_t, string_view, ErrorCode& error) override { error = {}; }
  std::size_t on_chunk_body_impl(std::uint64_t, string_view body, ErrorCode& error) override {
    return take(body, error);
  }
  void on_finish_impl(ErrorCode& error) override { error = {}; }

  std::size_t take(string_view body, ErrorCode& error) {
    error = {};
    if (sink_.body != nullptr) sink_.body->append(body.data(), body.size());
    sink_.body_bytes += body.size();
    return body.size();
  }

  Sink& sink_;
};

bool is_token_char(char c) {
  if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return true;
  return c != 0 && std::strchr("!#$%&'*+-.^_`|~", c) != nullptr;
}

// What Beast lets through and a proxy must not: looked for in the raw head, before it is parsed.
// `head` ends with the empty line. Returns what is wrong.
std::string_view raw_fault(std::string_view head) {
  for (std::size_t i = 0; i < head.size(); ++i) {
    const char c = head[i];
    if (c == '\0') return "a NUL byte in the header";
    if (c == '\r' && (i + 1 == head.size() || head[i + 1] != '\n'))
      return "a bare CR in the header";
    if (c == '\n' && (i == 0 || head[i - 1] != '\r')) return "a bare LF in the header";
    if (c == '\n' && i + 1 < head.size() && (head[i + 1] == ' ' || head[i + 1] == '\t'))
      return "a folded header line";  // RFC 9112 section 5.2
  }
  return "";
}

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

bool all_digits(std::string_view s) {
  return !s.empty() && s.size() <= 19 &&
         std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// RFC 9110 section 7.2: host and optional port; nothing that could be read as more.
bool is_host_value(std::string_view s) {
  return std::none_of(s.begin(), s.end(), [](unsigned char c) {
    return c <= ' ' || c >= 0x7f || std::strchr("/?#@\\<>\"{}|^`,", c) != nullptr;
  });
}

}  // namespace

bool iequals(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return (x >= 'A' && x <= 'Z' ? x + 32 : x) == (y >= 'A' && y <= 'Z' ? y + 32 : y);
         });
}

bool list_has(std::string_view list, std::string_view token) {
  while (!list.empty()) {
    const auto item = list.substr(0, list.find(','));
    if (iequals(trim(item), token)) return true;
    list.remove_prefix(std::min(list.size(), item.size() + 1));
  }
  return false;
}

std::string_view Head::get(std::string_view name) const {
  for (const auto& f : fields)
    if (iequals(f.name, name)) return f.value;
  return {};
}

bool Head::has(std::string_view name) const {
  return std::any_of(fields.begin(), fields.end(),
                     [&](const auto& f) { return iequals(f.name, name); });
}

HopByHop::HopByHop(const Head& head) {
  for (const auto& f : head.fields)
    if (iequals(f.name, "Connection"))
      for (auto list = f.value; !list.empty();) {
        const auto item = list.substr(0, list.find(','));
        if (!trim(item).empty()) named_.push_back(trim(item));
        list.remove_prefix(std::min(list.size(), item.size() + 1));
      }
}

bool HopByHop::contains(std::string_view name) const {
  static constexpr std::string_view always[] = {"Connection",
                                                "Keep-Alive",
                                                "Proxy-Connection",
                                                "Proxy-Authenticate",
                                                "Proxy-Authorization",
                                                "TE",
                                                "Trailer",
                                                "Transfer-Encoding",
                                                "Upgrade"};
  const auto same = [&](std::string_view other) { return iequals(name, other); };
  return std::any_of(std::begin(always), std::end(always), same) ||
         std::any_of(named_.begin(), named_.end(), same);
}

struct MessageReader::Impl {
  Impl(Stream& s, Side side_, std::size_t max) : stream(s), side(side_), head_max(max) {}

  Stream& stream;
  const Side side;
  const std::size_t head_max;

  std::string buffer;  // what was read; [begin, buffer.size()) is not used yet
  std::size_t begin = 0;
  Sink sink;
  std::optional<Parser<true>> request;  // for a chunked body
  std::optional<Parser<false>> response;
  Head head;
  std::string detail;
  std::uint64_t left = 0;  // Framing::length
  bool done = true;
  bool at_eof = false;
  bool starved = false;  // what is buffered is no whole chunk line: the parser needs more
  std::uint64_t bytes = 0;

  std::string_view rest() const { return std::string_view(buffer).substr(begin); }
  void consume(std::size_t n) {
    begin += n;
    bytes += n;
    if (begin == buffer.size()) {
      buffer.clear();
      begin = 0;
    }
  }
  // Reads more into the buffer.
  Awaitable<ReadError> fill(std::size_t amount) {
    if (begin > 0) {
      buffer.erase(0, begin);
      begin = 0;
    }
    const auto before = buffer.size();
    buffer.resize(before + amount);
    const auto got = co_await stream.read_some(asio::buffer(buffer.data() + before, amount));
    starved = false;
    buffer.resize(before + got.bytes);
    if (got.bytes > 0) co_return ReadError::none;
    if (got.error == asio::error::timed_out) co_return ReadError::timed_out;
    at_eof = got.error == asio::error::eof;
    co_return ReadError::truncated;
  }
  ReadError malformed(std::string_view why) {
    detail.assign(why);
    return ReadError::malformed;
  }

  Awaitable<ReadError> find_head_end(std::size_t& size);
  ReadError parse_head(std::string_view text, bool to_head);
  ReadError frame(bool to_head);
  ReadError frame_fields(bool& has_length, bool& chunked);
  template <bool isRequest>
  ReadError parse(std::optional<Parser<isRequest>>& parser, std::string_view text);
  Awaitable<ReadError> read_length(std::string& out, std::size_t max);
  Awaitable<ReadError> read_chunked(std::string& out, std::size_t max);
  Awaitable<ReadError> read_to_close(std::string& out, std::size_t max);
  template <bool isRequest>
  ReadError put_chunks(Parser<isRequest>& parser, bool& progressed);
};

MessageReader::MessageReader(Stream& stream, Side side, std::size_t head_max)
    : impl_(std::make_unique<Impl>(stream, side, head_max)) {}
MessageReader::~MessageReader() = default;

const Head& MessageReader::head() const { return impl_->head; }
const std::string& MessageReader::detail() const { return impl_->detail; }
bool MessageReader::body_done() const { return impl_->done; }
bool MessageReader::has_buffered() const { return !impl_->rest().empty(); }
bool MessageReader::body_ready() const {
  return impl_->done || (!impl_->starved && !impl_->rest().empty());
}
std::uint64_t MessageReader::bytes_read() const { return impl_->bytes; }

std::string MessageReader::take_buffered() {
  std::string taken(impl_->rest());
  impl_->consume(taken.size());
  return taken;
}

Awaitable<ReadError> MessageReader::wait_for_bytes() {
  auto& m = *impl_;
  if (has_buffered()) co_return ReadError::none;
  if (m.buffer.capacity() > small_read)
    std::string().swap(m.buffer);  // an idle connection is small
  const auto error = co_await m.fill(small_read);
  co_return error == ReadError::truncated ? ReadError::closed : error;
}

// The size of the head at the front of the buffer, its empty line included.
Awaitable<ReadError> MessageReader::Impl::find_head_end(std::size_t& size) {
  std::size_t scanned = 0;
  for (;;) {
    auto text = rest();
    // RFC 9112 section 2.2: an empty line before a request is skipped.
    if (side == Side::requests && scanned == 0 && text.substr(0, 2) == "\r\n") {
      consume(2);
      text = rest();
    }
    for (auto at = text.find('\n', scanned); at != text.npos; at = text.find('\n', at + 1)) {
      if (at == 0 || text[at - 1] != '\r') co_return malformed("a bare LF in the header");
      if (at >= 3 && text[at - 2] == '\n' && text[at - 3] == '\r') {
        size = at + 1;
        co_return size > head_max ? ReadError::head_too_large : ReadError::none;
      }
      if (at == 1) co_return malformed("an empty first line");
    }
    scanned = text.size();
    if (text.size() > head_max) co_return ReadError::head_too_large;
    const bool nothing = text.empty();
    const auto error = co_await fill(small_read);
    if (error == ReadError::truncated && nothing) co_return ReadError::closed;
    if (error != ReadError::none) co_return error;
  }
}

Awaitable<ReadError> MessageReader::read_head(bool to_head) {
  auto& m = *impl_;
  m.detail.clear();
  m.bytes = 0;
  m.done = true;
  m.starved = false;
  m.head.keep_alive = false;
  std::size_t size = 0;
  auto error = co_await m.find_head_end(size);
  if (error != ReadError::none) co_return error;
  error = m.parse_head(m.rest().substr(0, size), to_head);
  m.consume(size);
  co_return error;
}

template <bool isRequest>
ReadError MessageReader::Impl::parse(std::optional<Parser<isRequest>>& parser,
                                     std::string_view text) {
  parser.emplace(sink);
  ErrorCode error;
  parser->put(asio::buffer(text.data(), text.size()), error);
  if (error && error != http::error::need_more) {
    if (error == http::error::header_limit) return ReadError::head_too_large;
    return malformed(error.message());
  }
  if (!sink.head_done) return malformed("an incomplete header");
  return ReadError::none;
}

ReadError MessageReader::Impl::parse_head(std::string_view text, bool to_head) {
  if (const auto fault = raw_fault(text); !fault.empty()) return malformed(fault);
  sink.clear();
  request.reset();
  response.reset();
  const auto error = side == Side::requests ? parse(request, text) : parse(response, text);
  if (error != ReadError::none) return error;

  const std::string_view all(sink.text);
  head.method =
      side == Side::requests ? all.substr(sink.method, sink.method_size) : std::string_view();
  head.target =
      side == Side::requests ? all.substr(sink.target, sink.target_size) : std::string_view();
  head.reason =
      side == Side::responses ? all.substr(sink.target, sink.target_size) : std::string_view();
  head.status = sink.status;
  head.version = sink.version;
  head.fields.clear();
  for (const auto& f : sink.fields)
    head.fields.push_back(
        {all.substr(f.name, f.name_size), trim(all.substr(f.value, f.value_size))});
  if (head.version != 10 && head.version != 11)
    return malformed("an HTTP version other than 1.0 and 1.1");
  return frame(to_head);
}

// Content-Length and Transfer-Encoding, strictly (RFC 9112 section 6).
ReadError MessageReader::Impl::frame_fields(bool& has_length, bool& chunked) {
  for (const auto& f : head.fields) {
    if (iequals(f.name, "Content-Length")) {
      if (!all_digits(f.value)) return malformed("a Content-Length that is not a number");
      const auto length = std::stoull(std::string(f.value));
      if (has_length && length != head.content_length)
        return malformed("two different Content-Lengths");
      has_length = true;
      head.content_length = length;
    } else if (iequals(f.name, "Transfer-Encoding")) {
      if (chunked) return malformed("Transfer-Encoding stands twice");
      if (!iequals(f.value, "chunked")) {
        detail = "a Transfer-Encoding other than chunked";
        return ReadError::not_implemented;
      }
      chunked = true;
    }
  }
  if (has_length && chunked) return malformed("Content-Length and Transfer-Encoding together");
  if (chunked && head.version == 10) return malformed("Transfer-Encoding in HTTP/1.0");
  return ReadError::none;
}

ReadError MessageReader::Impl::frame(bool to_head) {
  bool has_length = false, chunked = false, close = false, keep = false, upgrade = false;
  head.content_length = 0;
  if (const auto error = frame_fields(has_length, chunked); error != ReadError::none) return error;
  std::size_t hosts = 0;
  head.expect_continue = false;
  for (const auto& f : head.fields) {
    if (iequals(f.name, "Connection")) {
      close = close || list_has(f.value, "close");
      keep = keep || list_has(f.value, "keep-alive");
      upgrade = upgrade || list_has(f.value, "upgrade");
    } else if (iequals(f.name, "Host")) {
      ++hosts;
      if (!is_host_value(f.value)) return malformed("a Host that is not one");
    } else if (iequals(f.name, "Expect")) {
      head.expect_continue = iequals(f.value, "100-continue") && head.version == 11;
    }
  }
  head.keep_alive = head.version == 11 ? !close : keep && !close;
  head.upgrade = upgrade && head.has("Upgrade");
  if (side == Side::requests) {
    if (hosts > 1) return malformed("two Host fields");
    if (hosts == 0 && head.version == 11 && head.method != "CONNECT")
      return malformed("no Host field");
    if (!std::all_of(head.method.begin(), head.method.end(), is_token_char))
      return malformed("a method that is no token");
  }

  const bool bodyless = side == Side::responses && (to_head || head.status / 100 == 1 ||
                                                    head.status == 204 || head.status == 304);
  if (bodyless)
    head.framing = Framing::none;
  else if (chunked)
    head.framing = Framing::chunked;
  else if (has_length)
    head.framing = Framing::length;
  else
    head.framing = side == Side::responses ? Framing::until_close : Framing::none;
  if (head.framing == Framing::until_close) head.keep_alive = false;
  left = head.framing == Framing::length ? head.content_length : 0;
  done = head.framing == Framing::none || (head.framing == Framing::length && left == 0);
  return ReadError::none;
}

Awaitable<ReadError> MessageReader::read_body(std::string& out, std::size_t max) {
  auto& m = *impl_;
  if (m.done) co_return ReadError::none;
  if (m.head.framing == Framing::length) co_return co_await m.read_length(out, max);
  if (m.head.framing == Framing::chunked) co_return co_await m.read_chunked(out, max);
  co_return co_await m.read_to_close(out, max);
}

// Straight into `out` where nothing is buffered.
Awaitable<ReadError> MessageReader::Impl::read_length(std::string& out, std::size_t max) {
  if (const auto text = rest(); !text.empty()) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>({text.size(), left, max}));
    out.append(text.substr(0, n));
    consume(n);
    left -= n;
  } else {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(left, max));
    const auto before = out.size();
    out.resize(before + n);
    const auto got = co_await stream.read_some(asio::buffer(out.data() + before, n));
    out.resize(before + got.bytes);
    if (got.bytes == 0)
      co_return got.error == asio::error::timed_out ? ReadError::timed_out : ReadError::truncated;
    bytes += got.bytes;
    left -= got.bytes;
  }
  done = left == 0;
  co_return ReadError::none;
}

Awaitable<ReadError> MessageReader::Impl::read_to_close(std::string& out, std::size_t max) {
  if (const auto text = rest(); !text.empty()) {
    const auto n = std::min(text.size(), max);
    out.append(text.substr(0, n));
    consume(n);
    co_return ReadError::none;
  }
  const auto error = co_await fill(max);
  if (error == ReadError::truncated && at_eof) {
    done = true;
    co_return ReadError::none;
  }
  if (error != ReadError::none) co_return error;
  const auto text = rest();
  out.append(text);
  consume(text.size());
  co_return ReadError::none;
}

// Feeds what is buffered to the parser; the body lands in sink.body.
template <bool isRequest>
ReadError MessageReader::Impl::put_chunks(Parser<isRequest>& parser, bool& progressed) {
  const auto before = sink.body_bytes;
  while (!parser.is_done()) {
    const auto text = rest();
    if (text.empty()) break;
    ErrorCode error;
    const auto used = parser.put(asio::buffer(text.data(), text.size()), error);
    consume(used);
    if (error == http::error::need_more) break;
    if (error) return malformed(error.message());
    if (used == 0) break;
  }
  progressed = sink.body_bytes != before || parser.is_done();
  done = parser.is_done();
  starved = !done;
  if (!done && rest().size() > trailer_max && !progressed)
    return malformed("a chunk line that is too long");
  return ReadError::none;
}

Awaitable<ReadError> MessageReader::Impl::read_chunked(std::string& out, std::size_t max) {
  sink.body = &out;
  for (;;) {
    bool progressed = false;
    const auto fault = side == Side::requests ? put_chunks(*request, progressed)
                                              : put_chunks(*response, progressed);
    if (fault != ReadError::none || progressed) co_return fault;
    const auto error = co_await fill(std::max(max, small_read));
    if (error != ReadError::none) co_return error;
  }
}

void append_request_line(std::string& out, std::string_view method, std::string_view target) {
  ((out += method) += ' ') += target;
  out += " HTTP/1.1\r\n";
}

void append_status_line(std::string& out, int status, std::string_view reason) {
  out += "HTTP/1.1 ";
  out += std::to_string(status);
  out += ' ';
  if (reason.empty()) {
    const auto standard = http::obsolete_reason(static_cast<http::status>(status));
    reason = std::string_view(standard.data(), standard.size());
  }
  (out += reason) += "\r\n";
}

void append_field(std::string& out, std::string_view name, std::string_view value) {
  (((out += name) += ": ") += value) += "\r\n";
}

void append_field(std::string& out, std::string_view name, std::uint64_t value) {
  append_field(out, name, std::to_string(value));
}

void append_chunk(std::string& out, std::string_view data) {
  if (data.empty()) return;
  char size[20];
  out.append(size,
             static_cast<std::size_t>(std::snprintf(size, sizeof size, "%zx\r\n", data.size())));
  (out += data) += "\r\n";
}

void append_last_chunk(std::string& out) { out += "0\r\n\r\n"; }

}  // namespace ledger
