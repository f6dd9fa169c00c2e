#include "config/admin_token.h"

#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/state_files.h"
#include "fingerprint/text.h"

namespace ledger {
namespace {

constexpr std::size_t digits = 64;

std::string file_of(const Config& config) { return state_file(config, "admin-token"); }

tl::expected<void, std::string> make(const Config& config) {
  if (auto made = make_state_directory(config); !made) return made;
  Digest secret{};
  if (RAND_bytes(secret.data(), static_cast<int>(secret.size())) != 1)
    return tl::unexpected<std::string>("the system has no randomness to make a token of");
  return make_file(file_of(config), to_hex(secret) + "\n", 0600);
}

// A token that somebody else chose or could read protects nothing.
tl::expected<void, std::string> check(const std::string& path) {
  struct stat file {};
  if (::lstat(path.c_str(), &file) != 0) return {};  // reading says why
  const bool ours = S_ISREG(file.st_mode) && (file.st_uid == ::geteuid() || ::geteuid() == 0);
  if (ours && (file.st_mode & 077) == 0) return {};
  return tl::unexpected(path +
                        " is not a file that this user alone can read: remove it, and a new token "
                        "is made");
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
  if (auto checked = check(path); !checked) return tl::unexpected(checked.error());
  auto text = read_file(path);
  if (!text) return text;
  std::string token = text->substr(0, text->find('\n'));
  if (from_hex(token)) return token;
  return tl::unexpected(path + " holds no token (" + std::to_string(digits) +
                        " hex digits): remove it, and a new one is made");
}

bool admin_reads_need_token(const Config& config) {
  return !config.admin_token.empty() || config.admin_reads_token || !config.admin.loopback();
}

}  // namespace ledger
