#include "proxy/chunks.h"

#include <algorithm>

#include "proxy/syntax.h"

namespace ledger {
namespace {

constexpr std::size_t digits_max = 16;       // of a chunk's size: 64 bits
constexpr std::size_t extension_max = 4096;  // bytes of one chunk's extensions

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

void ChunkDecoder::reset(std::size_t trailers_max) {
  *this = ChunkDecoder();
  trailers_max_ = trailers_max;
  state_ = State::size;
}

ChunkDecoder::Step ChunkDecoder::decode(std::string_view in, std::string* out, std::size_t max) {
  Step step;
  while (step.used < in.size() && state_ != State::done && state_ != State::bad) {
    if (state_ != State::data) {
      line_byte(in[step.used++]);
      continue;
    }
    const auto n = static_cast<std::size_t>(
        std::min<std::uint64_t>({left_, in.size() - step.used, max - step.given}));
    if (n == 0) break;
    if (out != nullptr) out->append(in.substr(step.used, n));
    step.used += n;
    step.given += n;
    left_ -= n;
    if (left_ == 0) state_ = State::data_cr;
  }
  return step;
}

// Everything but the data itself.
void ChunkDecoder::line_byte(char c) {
  switch (state_) {
    case State::size:
      return size_byte(c);
    case State::extension_start:
    case State::extension_name:
    case State::extension_value:
    case State::extension_token:
    case State::extension_quoted:
    case State::extension_escaped:
    case State::extension_end:
      return extension_byte(c);
    case State::size_lf:
      return expect(c, '\n', left_ == 0 ? State::trailer_start : State::data,
                    "a bare CR in a chunk line");
    case State::data_cr:
      return expect(c, '\r', State::data_lf, "a chunk that does not end where its size says");
    case State::data_lf:
      digits_ = line_ = 0;
      return expect(c, '\n', State::size, "a chunk that does not end where its size says");
    case State::last_lf:
      return expect(c, '\n', State::done, "a bare CR after the last chunk");
    default:
      return trailer_byte(c);
  }
}

// chunk-size [ chunk-ext ] CRLF. White space between them, which RFC 9112 calls bad and old parsers
// read in different ways, is refused.
void ChunkDecoder::size_byte(char c) {
  if (digits_ > 0 && (c == '\r' || c == ';')) return extension_separator(c);
  const auto digit = hex_digit(c);
  if (digit < 0) return refuse("a chunk size that is no hexadecimal number");
  if (++digits_ > digits_max || left_ >> 59 != 0) return refuse("a chunk size that is too large");
  left_ = left_ * 16 + static_cast<std::uint64_t>(digit);
}

// chunk-ext = *( ";" chunk-ext-name [ "=" ( token / quoted-string ) ] ), with white space after
// the semicolon. Dropped; but one that is malformed may be read as a line's end by somebody else.
void ChunkDecoder::extension_byte(char c) {
  if (++line_ > extension_max) return refuse("a chunk line that is too long");
  switch (state_) {
    case State::extension_start:
      if (is_token_char(c))
        state_ = State::extension_name;
      else if (c != ' ' && c != '\t')
        refuse("a malformed chunk extension");
      return;
    case State::extension_name:
      if (c == '=')
        state_ = State::extension_value;
      else if (!is_token_char(c))
        extension_separator(c);
      return;
    case State::extension_value:
      state_ = c == '"' ? State::extension_quoted : State::extension_token;
      if (c != '"' && !is_token_char(c)) refuse("a malformed chunk extension");
      return;
    case State::extension_token:
      if (!is_token_char(c)) extension_separator(c);
      return;
    case State::extension_quoted:
      if (c == '"')
        state_ = State::extension_end;
      else if (c == '\\')
        state_ = State::extension_escaped;
      else if (!is_value_char(c))
        refuse("a control character in a chunk line");
      return;
    case State::extension_escaped:
      state_ = State::extension_quoted;
      if (!is_value_char(c)) refuse("a control character in a chunk line");
      return;
    default:  // extension_end
      return extension_separator(c);
  }
}

void ChunkDecoder::extension_separator(char c) {
  state_ = c == ';' ? State::extension_start : State::size_lf;
  if (c != ';' && c != '\r') refuse("a malformed chunk extension");
}

// *( field-line CRLF ) CRLF, held to the same rules as a head's fields.
void ChunkDecoder::trailer_byte(char c) {
  if (++trailers_ > trailers_max_) return refuse("trailers that are too long");
  switch (state_) {
    case State::trailer_start:
      if (c == '\r')
        state_ = State::last_lf;
      else if (is_token_char(c))
        state_ = State::trailer_name;
      else
        refuse("a malformed trailer");
      return;
    case State::trailer_name:
      if (c == ':')
        state_ = State::trailer_value;
      else if (!is_token_char(c))
        refuse("a malformed trailer");
      return;
    case State::trailer_value:
      if (c == '\r')
        state_ = State::trailer_lf;
      else if (!is_value_char(c))
        refuse("a control character in a trailer");
      return;
    default:  // trailer_lf
      return expect(c, '\n', State::trailer_start, "a bare CR in a trailer");
  }
}

void ChunkDecoder::expect(char c, char expected, State then, std::string_view otherwise) {
  state_ = then;
  if (c != expected) refuse(otherwise);
}

void ChunkDecoder::refuse(std::string_view why) {
  state_ = State::bad;
  fault_ = why;
}

}  // namespace ledger
