// A command with a time limit, and what it said.
#pragma once

#include <atomic>
#include <chrono>
#include <string>
#include <vector>

namespace ledger::cli {

// For exec: they hold as long as `texts` do.
std::vector<char*> pointers(std::vector<std::string>& texts);

struct Ended {
  enum class How { exited, timed_out, stopped, not_started } how = How::not_started;
  int code = 0;        // of an exit; 128 and the signal's number of a death
  std::string output;  // stdout and stderr, as they came; the last of it where it is long
  bool fine() const { return how == How::exited && code == 0; }
};

// Runs `command` (its first word is a path) with `environment` ("NAME=value") and no input. It and
// all that it started are killed after `limit`, or as soon as `stop` is set.
Ended run_child(std::vector<std::string> command, std::vector<std::string> environment,
                std::chrono::milliseconds limit, const std::atomic<bool>& stop);

}  // namespace ledger::cli
