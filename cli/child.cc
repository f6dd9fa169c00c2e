#include "cli/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ledger::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int look_every_ms = 20;
constexpr std::size_t output_max = 65'536;

// In a group of its own, with default signals. 0: it could not be started.
pid_t spawn(std::vector<std::string> command, std::vector<std::string> environment, int output) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, output, 1);
  posix_spawn_file_actions_adddup2(&files, output, 2);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, pipe;
  sigemptyset(&none);
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &pipe);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  pid_t child = 0;
  const int error = posix_spawn(&child, command.front().c_str(), &files, &attributes,
                                pointers(command).data(), pointers(environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return error == 0 ? child : 0;
}

// Waits a moment for more; false at the end.
bool read_more(int from, std::string& output, int wait_ms) {
  pollfd readable{from, POLLIN, 0};
  if (::poll(&readable, 1, wait_ms) <= 0) return true;
  char buffer[4096];
  const auto n = ::read(from, buffer, sizeof buffer);
  if (n <= 0) return false;
  output.append(buffer, static_cast<std::size_t>(n));
  if (output.size() > output_max) output.erase(0, output.size() - output_max);
  return true;
}

bool has_ended(pid_t child) {
  siginfo_t info{};
  return waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == child;
}

}  // namespace

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  all.reserve(texts.size() + 1);
  for (auto& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

Ended run_child(std::vector<std::string> command, std::vector<std::string> environment,
                std::chrono::milliseconds limit, const std::atomic<bool>& stop) {
  Ended ended;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ended;
  const auto deadline = Clock::now() + limit;
  const pid_t child = spawn(std::move(command), std::move(environment), ends[1]);
  ::close(ends[1]);
  if (child != 0) {
    ended.how = Ended::How::exited;
    bool open = true;
    while (!has_ended(child)) {
      if (stop || Clock::now() >= deadline) {
        ended.how = stop ? Ended::How::stopped : Ended::How::timed_out;
        break;
      }
      if (open)
        open = read_more(ends[0], ended.output, look_every_ms);
      else
        ::poll(nullptr, 0, look_every_ms);
    }
    // Before it is reaped: until then the group is surely its own.
    ::kill(-child, SIGKILL);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    pollfd left{ends[0], POLLIN, 0};
    while (open && ::poll(&left, 1, 0) > 0) open = read_more(ends[0], ended.output, 0);
  }
  ::close(ends[0]);
  return ended;
}

}  // namespace ledger::cli
