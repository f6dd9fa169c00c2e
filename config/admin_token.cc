#include "config/admin_token.h"

#include <openssl/rand.h>
#include <unistd.h>

#include "config/state_files.h"
#include "fingerprint/text.h"

namespace ledger {
namespace {

constexpr std::size_t digits = 64;
const std::string again = ": remove it, and a new one is made";

std::string file_of(const Config& config) { return state_file(config, "admin-token"); }

tl::expected<void, std::string> make(const Config& config) {
  if (auto made = make_state_directory(config); !made) return made;
  Digest secret{};
  if (RAND_bytes(secret.data(), static_cast<int>(secret.size())) != 1)
    return tl::unexpected<std::string>("the system has no randomness to make a token of");
  return make_file(file_of(config), to_hex(secret) + "\n", 0600);
}

}  // namespace

std::string admin_token_place(const Config& config) {
  return config.admin_token.empty() ? file_of(config) : "`admin.token` of the config";
}

tl::expected<std::string, std::string> admin_token(const Config& config) {
  if (!config.admin_token.empty()) return config.admin_token;
  const auto path = file_of(config);
  if (::access(path.c_str(), F_OK) != 0)
    if (auto made = make(config); !made) return tl::unexpected(made.error());
  // A token that somebody else chose or could read protects nothing.
  auto text = read_secret(path, 0, again);
  if (!text) return text;
  std::string token = text->substr(0, text->find('\n'));
  if (from_hex(token)) return token;
  return tl::unexpected(path + " holds no token (" + std::to_string(digits) + " hex digits)" +
                        again);
}

bool admin_reads_need_token(const Config& config) {
  return !config.admin_token.empty() || config.admin_reads_token || !config.admin.loopback();
}

}  // namespace ledger
