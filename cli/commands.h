// One function and one file a subcommand; each returns the process's exit code. Records and
// explanations go to stdout, everything else to stderr.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "admin/json.h"
#include "config/config.h"
#include "store/store.h"

namespace ledger::cli {

constexpr int fine = 0, failed = 1, usage = 2;

// --- what the command line says ----------------------------------------------------------------

struct Common {
  std::string config;  // -c; empty: ./ledger.yaml, or the built-in defaults
  bool json = false;   // JSON lines
};
struct CheckOptions : Common {};
struct ExplainOptions : Common {
  std::string method, url, body;     // body: text, or @FILE
  std::vector<std::string> headers;  // "Name: value"
};
struct StoreOptions : Common {
  std::string store;  // empty: the config's
};
// Which records; nullopt: all of them.
struct Filters {
  std::optional<std::string> route, agent, run, state, since;
};
struct LookOptions : StoreOptions {
  Filters filters;
  std::size_t last = 0;  // 0: all
};
struct LogOptions : LookOptions {};
struct DoubtsOptions : LookOptions {};
struct StatsOptions : LookOptions {};
struct TailOptions : LookOptions {};
struct ShowOptions : LookOptions {
  std::vector<std::string> arguments;  // a store, the beginning of an id, or both
};
struct ResolveOptions : StoreOptions {
  std::string id;
  std::optional<std::string> by;
  bool executed = false, not_executed = false;
};
struct ClearOptions : LookOptions {
  bool yes = false, in_doubt = false;
};

struct CaOptions : Common {
  std::string action;  // show, path, rotate
  bool only_named = false;
};

struct RunOptions : Common {
  std::vector<std::string> command;
  std::string agent, run;
  bool strict = false;  // tunnels that would be blind are refused
};
struct EnvOptions : Common {
  std::string agent, run;
};

struct DoctorOptions : Common {};

int serve(const std::string& config_file);
int run(const RunOptions& options);
int env(const EnvOptions& options);
int doctor(const DoctorOptions& options);
int check(const CheckOptions& options);
int explain(const ExplainOptions& options);
int log(const LogOptions& options);
int doubts(const DoubtsOptions& options);
int show(const ShowOptions& options);
int stats(const StatsOptions& options);
int tail(const TailOptions& options);
int resolve(const ResolveOptions& options);
int clear(const ClearOptions& options);
int ca(const CaOptions& options);

// --- what they share ---------------------------------------------------------------------------

// Prints "ledger: <why>" to stderr; returns `code`.
int refuse(const std::string& why, int code = failed);
// One JSON line to stdout; pure ASCII on a terminal, which then has nothing to obey.
void print_json(const Json& json);

// The config of -c; without one ./ledger.yaml, or the built-in defaults where that is not there.
// Prints its mistakes, a line each; nullopt then.
struct LoadedConfig {
  Config config;
  std::string file;  // empty: the defaults
};
std::optional<LoadedConfig> load(const std::string& file);

// The config's store for a proxy of this process; made at need, as is the state directory where it
// lies there. The state directory and the CA's key are this user's alone then. The error is a line.
tl::expected<std::unique_ptr<Store>, std::string> open_to_serve(
    const Config& config, const std::function<void(const std::string&)>& log);

// STORE, or the config's store where that is empty; it must exist. The error is the exit code, and
// was printed.
tl::expected<std::unique_ptr<Store>, int> open_existing(const StoreOptions& options);

}  // namespace ledger::cli
