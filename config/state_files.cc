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
  if (::mkdir(directory.c_str(), 0700) == 0 || errno == EEXIST) return {};
  return tl::unexpected("state: cannot make " + directory + ": " + failure() +
                        "; set `state:` to a directory that can be written");
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

}  // namespace ledger
