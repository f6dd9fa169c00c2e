#include "config/state_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

namespace ledger {
namespace {

namespace fs = std::filesystem;

std::string failure() { return std::generic_category().message(errno); }

// Root can do anything anyway.
bool trusts(uid_t owner) { return owner == ::geteuid() || owner == 0; }

std::string belongs_to(uid_t owner) {
  return " belongs to another user (uid " + std::to_string(owner) + ")";
}

std::string random_suffix() { return "." + std::to_string(std::random_device()()); }

// A new file beside `path`, whole and synced; its name is returned. The caller puts it in place.
tl::expected<std::string, std::string> write_beside(const std::string& path,
                                                    const std::string& text, mode_t mode) {
  auto name = path + random_suffix();
  const int fd = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  const auto size = static_cast<ssize_t>(text.size());
  const bool written = fd >= 0 && ::write(fd, text.data(), text.size()) == size && ::fsync(fd) == 0;
  const auto why = failure();
  if (fd >= 0) ::close(fd);
  if (written) return name;
  ::unlink(name.c_str());
  return tl::unexpected("cannot write " + path + ": " + why);
}

}  // namespace

std::string state_file(const Config& config, const std::string& name) {
  return config.state_dir + "/" + name;
}

tl::expected<void, std::string> make_state_directory(const Config& config) {
  const auto& directory = config.state_dir;
  std::error_code error;
  const auto above = fs::path(directory).parent_path();
  if (!above.empty()) fs::create_directories(above, error);
  if (::mkdir(directory.c_str(), 0700) == 0) return {};
  if (errno == EEXIST) return check_state_directory(config);
  return tl::unexpected("state: cannot make " + directory + ": " + failure() +
                        "; set `state:` to a directory that can be written");
}

tl::expected<void, std::string> check_state_directory(const Config& config) {
  const auto& directory = config.state_dir;
  const auto refuse = [&](const std::string& why) {
    return tl::unexpected("state: " + directory + why +
                          ", or set `state:` to a directory of this user's own");
  };
  struct stat link {
  }, info{};
  if (::lstat(directory.c_str(), &link) != 0 || ::stat(directory.c_str(), &info) != 0) return {};
  if (!S_ISDIR(info.st_mode)) return refuse(" is no directory: move it away");
  for (const auto owner : {link.st_uid, info.st_uid})
    if (!trusts(owner))
      return refuse(belongs_to(owner) +
                    ", who could put a CA of their own there: chown it to this user");
  if ((info.st_mode & 022) != 0)
    return refuse(" can be written by others, who could put a CA of their own there: chmod 700 it");
  return {};
}

tl::expected<void, std::string> replace_file(const std::string& path, const std::string& text,
                                             mode_t mode) {
  const auto beside = write_beside(path, text, mode);
  if (!beside) return tl::unexpected(beside.error());
  if (::rename(beside->c_str(), path.c_str()) == 0) return {};
  return tl::unexpected("cannot write " + path + ": " + failure());
}

tl::expected<void, std::string> make_file(const std::string& path, const std::string& text,
                                          mode_t mode) {
  const auto beside = write_beside(path, text, mode);
  if (!beside) return tl::unexpected(beside.error());
  const bool made = ::link(beside->c_str(), path.c_str()) == 0 || errno == EEXIST;
  const auto why = failure();
  ::unlink(beside->c_str());
  if (made) return {};
  return tl::unexpected("cannot write " + path + ": " + why);
}

tl::expected<std::string, std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  if (in && text << in.rdbuf()) return text.str();
  return tl::unexpected("cannot read " + path + ": " + failure());
}

tl::expected<std::string, std::string> read_secret(const std::string& path, mode_t others_may,
                                                   const std::string& advice) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0) {
    const auto too_much = info.st_mode & 077 & ~others_may;
    if (!trusts(info.st_uid)) return tl::unexpected(path + belongs_to(info.st_uid) + advice);
    if (too_much != 0)
      return tl::unexpected(path + " can be " + ((too_much & 044) != 0 ? "read" : "written") +
                            " by others" + advice);
  }
  return read_file(path);
}

bool is_ours_alone(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && trusts(info.st_uid) && (info.st_mode & 022) == 0;
}

}  // namespace ledger
