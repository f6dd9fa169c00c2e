// Undoing a coding piece by piece, with bounded memory and bounded work a piece.
#pragma once

#include <memory>
#include <string>
#include <string_view>

struct z_stream_s;

namespace ledger {

// Does it undo this coding ("gzip", "x-gzip", "deflate"; no lists of several)?
bool is_inflatable(std::string_view coding);

class Inflater {
 public:
  // `bytes` outlive it. Only of codings that are inflatable.
  Inflater(std::string_view coding, std::string_view bytes);

  enum class Step : std::uint8_t { more, done, failed };
  // Appends at most `most` bytes to `out`: perhaps none, though there are more to come. failed:
  // the bytes are not of that coding, or end too soon.
  Step step(std::string& out, std::size_t most);

 private:
  struct End {
    void operator()(z_stream_s* z) const;
  };
  Step advance(std::string& out, std::size_t most);

  const std::string_view bytes_;
  std::string_view rest_;
  int format_;
  bool begun_ = false;
  std::unique_ptr<z_stream_s, End> z_;
};

}  // namespace ledger
