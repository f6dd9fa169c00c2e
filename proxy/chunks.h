// The chunked transfer coding (RFC 9112 section 7.1), one byte after the other, so that where a
// body is split cannot change what is read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ledger {

class ChunkDecoder {
 public:
  // Begins a body. Its trailers may have `trailers_max` bytes together.
  void reset(std::size_t trailers_max);

  struct Step {
    std::size_t used = 0;   // of `in`
    std::size_t given = 0;  // bytes of the body
  };
  // Decodes the front of `in` and appends at most `max` bytes to `out` (nullptr: only counts them).
  // Goes on over lines until the next byte of the body has no room, `in` ends, or the body does.
  // Extensions and trailers are dropped.
  Step decode(std::string_view in, std::string* out, std::size_t max);

  bool done() const { return state_ == State::done; }
  // What is wrong, once something is; else empty. Nothing more is decoded then.
  std::string_view fault() const { return fault_; }

 private:
  enum class State : std::uint8_t {
    size,
    extension_start,
    extension_name,
    extension_value,  // its first byte
    extension_token,
    extension_quoted,
    extension_escaped,
    extension_end,
    size_lf,
    data,
    data_cr,
    data_lf,
    trailer_start,  // of a line
    trailer_name,
    trailer_value,
    trailer_lf,
    last_lf,
    done,
    bad
  };
  void line_byte(char c);
  void size_byte(char c);
  void extension_byte(char c);
  void extension_separator(char c);
  void trailer_byte(char c);
  void expect(char c, char expected, State then, std::string_view otherwise);
  void refuse(std::string_view why);

  State state_ = State::done;
  std::uint64_t left_ = 0;  // size: read so far; data: still to come of this chunk
  std::size_t digits_ = 0;
  std::size_t line_ = 0;  // bytes of this chunk's extension
  std::size_t trailers_ = 0, trailers_max_ = 0;
  std::string_view fault_;
};

}  // namespace ledger
