#include <zlib.h>

#include <algorithm>
#include <limits>

#include "fingerprint/body.h"
#include "fingerprint/text.h"

namespace ledger {
namespace {

// zlib's windowBits choose the format: RFC 1952, RFC 1950, or RFC 1951 without a wrapper.
constexpr int gzip_format = 16 + MAX_WBITS, zlib_format = MAX_WBITS, bare_format = -MAX_WBITS;

std::optional<std::string> inflate_as(int format, std::string_view bytes, std::size_t max) {
  z_stream z{};
  if (bytes.size() > std::numeric_limits<uInt>::max() || inflateInit2(&z, format) != Z_OK)
    return std::nullopt;
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  z.avail_in = static_cast<uInt>(bytes.size());
  std::string out;
  // Room for one byte more than may be shows that there is too much.
  const auto room_max = max + 1;
  std::size_t filled = 0;
  int result = Z_OK;
  while (result == Z_OK && filled <= max) {
    // Grown only when full: a file of many small members must not clear the rest for each.
    if (filled == out.size())
      out.resize(std::min(room_max, filled == 0 ? 4 * bytes.size() + 256 : 2 * filled));
    const auto step = std::min(out.size() - filled, std::size_t{1} << 30);
    z.next_out = reinterpret_cast<Bytef*>(out.data() + filled);
    z.avail_out = static_cast<uInt>(step);
    result = inflate(&z, Z_NO_FLUSH);
    filled += step - z.avail_out;
    // A gzip file may have several members (RFC 1952 section 2.2).
    if (result == Z_STREAM_END && format == gzip_format && z.avail_in > 0)
      result = inflateReset(&z);
  }
  const bool whole = result == Z_STREAM_END && z.avail_in == 0 && filled <= max;
  out.resize(filled);
  inflateEnd(&z);
  if (!whole) return std::nullopt;
  return out;
}

}  // namespace

std::optional<std::string> inflate_content(std::string_view coding, std::string_view bytes,
                                           std::size_t max) {
  if (same_text(coding, "gzip") || same_text(coding, "x-gzip"))
    return inflate_as(gzip_format, bytes, max);
  if (!same_text(coding, "deflate")) return std::nullopt;
  // deflate is zlib's format (RFC 9110 section 8.4.1.2), but some senders leave its wrapper out.
  if (auto wrapped = inflate_as(zlib_format, bytes, max)) return wrapped;
  return inflate_as(bare_format, bytes, max);
}

}  // namespace ledger
