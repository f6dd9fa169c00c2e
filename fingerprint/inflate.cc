#include "fingerprint/inflate.h"

#include <zlib.h>

#include <algorithm>
#include <limits>
#include <new>

#include "fingerprint/body.h"
#include "fingerprint/text.h"

namespace ledger {
namespace {

// zlib's windowBits choose the format: RFC 1952, RFC 1950, or RFC 1951 without a wrapper.
constexpr int gzip_format = 16 + MAX_WBITS, zlib_format = MAX_WBITS, bare_format = -MAX_WBITS;

bool is_gzip(std::string_view coding) {
  return same_text(coding, "gzip") || same_text(coding, "x-gzip");
}

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

// Of input that gives nothing a step takes so much at most.
constexpr std::size_t step_input_max = 64 * 1024;

}  // namespace

bool is_inflatable(std::string_view coding) {
  return is_gzip(coding) || same_text(coding, "deflate");
}

void Inflater::End::operator()(z_stream_s* z) const {
  inflateEnd(z);
  delete z;
}

Inflater::Inflater(std::string_view coding, std::string_view bytes)
    : bytes_(bytes),
      rest_(bytes),
      format_(is_gzip(coding) ? gzip_format : zlib_format),
      z_(new z_stream{}) {
  if (inflateInit2(z_.get(), format_) != Z_OK) throw std::bad_alloc();
}

Inflater::Step Inflater::step(std::string& out, std::size_t most) {
  const auto before = out.size();
  auto result = advance(out, most);
  // The wrapper of deflate that some leave out shows in the first bytes.
  if (result == Step::failed && !begun_ && format_ == zlib_format) {
    out.resize(before);
    rest_ = bytes_;
    format_ = bare_format;
    if (inflateReset2(z_.get(), format_) == Z_OK) result = advance(out, most);
  }
  begun_ = true;
  return result;
}

Inflater::Step Inflater::advance(std::string& out, std::size_t most) {
  auto& z = *z_;
  const auto before = out.size();
  out.resize(before + most);
  z.next_out = reinterpret_cast<Bytef*>(out.data() + before);
  z.avail_out = static_cast<uInt>(most);
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(rest_.data()));
  z.avail_in = static_cast<uInt>(std::min(rest_.size(), step_input_max));
  int result = Z_OK;
  do {
    const auto had = z.avail_in;
    result = inflate(&z, Z_NO_FLUSH);
    rest_.remove_prefix(had - z.avail_in);
    // A gzip file may have several members (RFC 1952 section 2.2).
    if (result == Z_STREAM_END && format_ == gzip_format && !rest_.empty())
      result = inflateReset(&z);
  } while (result == Z_OK && z.avail_in > 0 && z.avail_out > 0);
  const bool full = z.avail_out == 0;
  out.resize(before + most - z.avail_out);
  if (result == Z_STREAM_END) return rest_.empty() ? Step::done : Step::failed;
  // Without more input only what did not fit can follow.
  return result == Z_OK && (full || !rest_.empty()) ? Step::more : Step::failed;
}

std::optional<std::string> inflate_content(std::string_view coding, std::string_view bytes,
                                           std::size_t max) {
  if (!is_inflatable(coding)) return std::nullopt;
  if (is_gzip(coding)) return inflate_as(gzip_format, bytes, max);
  // deflate is zlib's format (RFC 9110 section 8.4.1.2), but some senders leave its wrapper out.
  if (auto wrapped = inflate_as(zlib_format, bytes, max)) return wrapped;
  return inflate_as(bare_format, bytes, max);
}

}  // namespace ledger
