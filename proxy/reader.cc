// MessageReader: where a message ends in the stream of bytes, and what of it has arrived.
#include <algorithm>
#include <boost/asio/ssl/error.hpp>
#include <boost/assert.hpp>
#include <cstring>

#include "proxy/chunks.h"
#include "proxy/head_parser.h"
#include "proxy/message.h"
#include "proxy/syntax.h"

namespace ledger {
namespace {

constexpr std::size_t small_read = 8'192;   // what a head usually fits in
constexpr std::size_t large_read = 65'536;  // a body that keeps coming

// Bytes read and not used yet. Plain memory: a std::string would write zeros over all of it before
// each read.
class Buffer {
 public:
  std::string_view rest() const { return {data_.get() + begin_, end_ - begin_}; }
  bool empty() const { return begin_ == end_; }
  void consume(std::size_t n) {
    begin_ += n;
    if (begin_ == end_) begin_ = end_ = 0;
  }
  // Room for `amount` more bytes; `filled` says how many came.
  char* room(std::size_t amount) {
    const auto used = end_ - begin_;
    if (capacity_ - end_ < amount) {
      if (capacity_ < used + amount) {
        const auto capacity = used == 0 ? amount : std::max(used + amount, capacity_ * 2);
        auto data = std::make_unique_for_overwrite<char[]>(capacity);
        if (used > 0) std::memcpy(data.get(), data_.get() + begin_, used);
        data_ = std::move(data);
        capacity_ = capacity;
      } else {
        std::memmove(data_.get(), data_.get() + begin_, used);
      }
      begin_ = 0;
      end_ = used;
    }
    return data_.get() + end_;
  }
  void filled(std::size_t n) { end_ += n; }
  // An idle connection is small.
  void shrink() {
    if (!empty() || capacity_ <= small_read) return;
    data_.reset();
    capacity_ = 0;
  }

 private:
  std::unique_ptr<char[]> data_;
  std::size_t capacity_ = 0, begin_ = 0, end_ = 0;
};

}  // namespace

struct MessageReader::Impl {
  Impl(Stream& s, Side which, std::size_t max)
      : stream(s), side(which), head_max(max), parser(which) {}

  Stream& stream;
  const Side side;
  const std::size_t head_max;
  Buffer buffer;
  HeadParser parser;
  ChunkDecoder chunks;
  std::uint64_t left = 0;  // Framing::length: still to come
  bool done = true;        // the present message has ended
  bool at_eof = false;
  std::size_t appetite = small_read;  // how much the next read of a body asks for
  std::uint64_t bytes = 0;
  std::string decoded;  // a piece that the buffer does not hold as it is

  void consume(std::size_t n) {
    buffer.consume(n);
    bytes += n;
  }
  void learn(std::size_t asked, std::size_t got);
  ReadError failed(const ErrorCode& error);
  Awaitable<ReadError> fill(std::size_t amount);
  Awaitable<ReadError> find_head_end(std::size_t& size);
  void begin_body();
  Awaitable<ReadError> read_length(std::string& out, std::size_t max);
  Awaitable<ReadError> read_chunked(std::string& out, std::size_t max);
  Awaitable<ReadError> look(std::string_view& piece, std::size_t max);
  Awaitable<ReadError> read_to_close(std::string& out, std::size_t max);
};

MessageReader::MessageReader(Stream& stream, Side side, std::size_t head_max)
    : impl_(std::make_unique<Impl>(stream, side, head_max)) {}
MessageReader::~MessageReader() = default;

const Head& MessageReader::head() const { return impl_->parser.head(); }
const std::string& MessageReader::detail() const { return impl_->parser.detail(); }
bool MessageReader::body_done() const { return impl_->done; }
bool MessageReader::has_buffered() const { return !impl_->buffer.empty(); }
std::uint64_t MessageReader::bytes_read() const { return impl_->bytes; }

bool MessageReader::body_ready() const {
  const auto& m = *impl_;
  if (m.done) return true;
  if (m.buffer.empty() || head().framing != Framing::chunked) return !m.buffer.empty();
  auto ahead = m.chunks;  // what is buffered may be half a chunk line
  const auto step = ahead.decode(m.buffer.rest(), nullptr, 1);
  return step.given > 0 || ahead.done() || !ahead.fault().empty();
}

std::string_view MessageReader::buffered() const { return impl_->buffer.rest(); }

Awaitable<ReadError> MessageReader::read_more() { co_return co_await impl_->fill(small_read); }

std::string MessageReader::take_buffered() {
  std::string taken(impl_->buffer.rest());
  impl_->consume(taken.size());
  return taken;
}

Awaitable<ReadError> MessageReader::wait_for_bytes() {
  auto& m = *impl_;
  if (has_buffered()) co_return ReadError::none;
  m.buffer.shrink();
  m.parser.forget();
  const auto error = co_await m.fill(small_read);
  co_return error == ReadError::truncated ? ReadError::closed : error;
}

// Reads large pieces of a body that comes fast, and small ones of an event feed.
void MessageReader::Impl::learn(std::size_t asked, std::size_t got) {
  if (got == asked)
    appetite = std::min(appetite * 2, large_read);
  else if (got < appetite / 4)
    appetite = std::max(appetite / 2, small_read);
}

ReadError MessageReader::Impl::failed(const ErrorCode& error) {
  at_eof = error == asio::error::eof;
  return error == asio::error::timed_out ? ReadError::timed_out : ReadError::truncated;
}

// Reads more into the buffer.
Awaitable<ReadError> MessageReader::Impl::fill(std::size_t amount) {
  auto* const room = buffer.room(amount);
  const auto got = co_await stream.read_some(asio::buffer(room, amount));
  if (got.bytes == 0) co_return failed(got.error);
  buffer.filled(got.bytes);
  learn(amount, got.bytes);
  co_return ReadError::none;
}

// The size of the head at the front of the buffer, its empty line included. Only CRLF ends a line:
// RFC 9112 section 2.2 lets a bare LF through, and so did what was smuggled.
Awaitable<ReadError> MessageReader::Impl::find_head_end(std::size_t& size) {
  std::size_t scanned = 0, line = 0;
  bool first = true;  // nothing but an empty line before the request line has been seen
  for (;;) {
    auto text = buffer.rest();
    if (first && side == Side::requests && text.starts_with("\r\n")) {
      consume(2);  // RFC 9112 section 2.2: one is skipped
      first = false;
      text = buffer.rest();
    }
    // Bytes that begin no message (TLS on a plain port) are not waited upon.
    if (!text.empty() && text[0] != '\r' && !is_token_char(text[0]))
      co_return parser.fail(ReadError::malformed, "something that is not HTTP");
    for (auto at = text.find('\n', scanned); at != text.npos; at = text.find('\n', at + 1)) {
      if (at == 0 || text[at - 1] != '\r')
        co_return parser.fail(ReadError::malformed, "a bare LF in the header");
      if (at == 1) co_return parser.fail(ReadError::malformed, "an empty first line");
      if (at == line + 1) {
        size = at + 1;
        if (size <= head_max) co_return ReadError::none;
        co_return parser.fail(ReadError::head_too_large, "the header is too large");
      }
      line = at + 1;
    }
    scanned = text.size();
    if (text.size() > head_max)
      co_return parser.fail(ReadError::head_too_large, "the header is too large");
    const bool nothing = text.empty();
    const auto error = co_await fill(small_read);
    if (error == ReadError::truncated && nothing) co_return ReadError::closed;
    if (error != ReadError::none) co_return error;
    if (scanned == 1) scanned = 0;  // it may have been half of the empty line
  }
}

Awaitable<ReadError> MessageReader::read_head(bool to_head) {
  auto& m = *impl_;
  m.parser.forget();
  m.bytes = 0;
  m.done = true;
  std::size_t size = 0;
  auto error = co_await m.find_head_end(size);
  if (error != ReadError::none) co_return error;
  error = m.parser.parse(m.buffer.rest().substr(0, size), to_head);
  m.consume(size);
  if (error == ReadError::none) m.begin_body();
  co_return error;
}

void MessageReader::Impl::begin_body() {
  const auto& head = parser.head();
  left = head.framing == Framing::length ? head.content_length : 0;
  done = head.framing == Framing::none || (head.framing == Framing::length && left == 0);
  if (head.framing == Framing::chunked) chunks.reset(head_max);
  appetite = small_read;
}

Awaitable<ReadError> MessageReader::read_body(std::string& out, std::size_t max) {
  auto& m = *impl_;
  BOOST_ASSERT(max > 0);
  if (m.done) co_return ReadError::none;
  auto error = ReadError::none;
  if (head().framing == Framing::length)
    error = co_await m.read_length(out, max);
  else if (head().framing == Framing::chunked)
    error = co_await m.read_chunked(out, max);
  else
    error = co_await m.read_to_close(out, max);
  if (m.done) m.buffer.shrink();
  co_return error;
}

Awaitable<ReadError> MessageReader::read_piece(std::string_view& piece, std::size_t max) {
  auto& m = *impl_;
  BOOST_ASSERT(max > 0);
  piece = {};
  if (m.done) co_return ReadError::none;
  if (head().framing != Framing::chunked) co_return co_await m.look(piece, max);
  m.decoded.clear();
  const auto error = co_await m.read_chunked(m.decoded, max);
  piece = m.decoded;
  co_return error;
}

// What is buffered, or the next read; it stays in the buffer until that is filled again.
Awaitable<ReadError> MessageReader::Impl::look(std::string_view& piece, std::size_t max) {
  const bool to_close = parser.head().framing == Framing::until_close;
  const auto most = to_close ? max : static_cast<std::size_t>(std::min<std::uint64_t>(left, max));
  if (buffer.empty()) {
    const auto error = co_await fill(std::min(most, appetite));
    done = to_close && error == ReadError::truncated && at_eof;
    if (done) co_return ReadError::none;
    if (error != ReadError::none) co_return error;
  }
  piece = buffer.rest().substr(0, most);
  consume(piece.size());
  if (to_close) co_return ReadError::none;
  left -= piece.size();
  done = left == 0;
  co_return ReadError::none;
}

void MessageReader::shrink() {
  impl_->buffer.shrink();
  if (impl_->decoded.capacity() > small_read) impl_->decoded = {};
}

// Straight into `out` where nothing is buffered.
Awaitable<ReadError> MessageReader::Impl::read_length(std::string& out, std::size_t max) {
  if (const auto text = buffer.rest(); !text.empty()) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>({text.size(), left, max}));
    out.append(text.substr(0, n));
    consume(n);
    left -= n;
  } else {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>({left, max, appetite}));
    const auto before = out.size();
    out.resize(before + n);
    const auto got = co_await stream.read_some(asio::buffer(out.data() + before, n));
    out.resize(before + got.bytes);
    if (got.bytes == 0) co_return failed(got.error);
    learn(n, got.bytes);
    bytes += got.bytes;
    left -= got.bytes;
  }
  done = left == 0;
  co_return ReadError::none;
}

// RFC 9112 section 6.3: complete on FIN. TLS that ends without close_notify may have been cut, and
// reads as truncated (section 9.8).
Awaitable<ReadError> MessageReader::Impl::read_to_close(std::string& out, std::size_t max) {
  if (buffer.empty()) {
    const auto error = co_await fill(std::min(max, appetite));
    done = error == ReadError::truncated && at_eof;
    if (done) co_return ReadError::none;
    if (error != ReadError::none) co_return error;
  }
  const auto text = buffer.rest().substr(0, max);
  out.append(text);
  consume(text.size());
  co_return ReadError::none;
}

Awaitable<ReadError> MessageReader::Impl::read_chunked(std::string& out, std::size_t max) {
  for (;;) {
    const auto step = chunks.decode(buffer.rest(), &out, max);
    consume(step.used);
    if (!chunks.fault().empty()) {
      parser.explain(chunks.fault());
      co_return ReadError::malformed;
    }
    done = chunks.done();
    if (done || step.given > 0) co_return ReadError::none;
    const auto error = co_await fill(std::min(std::max(max, small_read), appetite));
    if (error != ReadError::none) co_return error;
  }
}

}  // namespace ledger
