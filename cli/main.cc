// The command line: what each subcommand takes. What it does is in the file of its name.
#include <CLI/CLI.hpp>
#include <functional>
#include <iostream>

#include "cli/commands.h"
#include "config/values.h"

namespace {

using namespace ledger;

using Run = std::function<int()>;

constexpr const char* version = "ledger " LEDGER_VERSION;

class CommandLine {
 public:
  CommandLine() : app_("Makes an agent's tool calls happen once: an HTTP proxy.", "ledger") {
    app_.set_version_flag("-V,--version", version, "print the version");
    app_.require_subcommand(0, 1);
    with_config(app_, config_);
    run_ = [this] { return cli::serve(config_); };
    add_serve();
    add_check();
    add_explain();
    add_log();
    add_doubts();
    add_show();
    add_stats();
    add_tail();
    add_resolve();
    add_clear();
    add_ca();
    add_run();
    add_env();
    add_doctor();
    add_help();
    // Last: subcommands would inherit it.
    app_.footer(
        "`ledger` alone serves. STORE is a file or a store URL; left out, the config's.\n"
        "Exit codes: 0 fine, 1 failed, 2 usage or config.");
  }

  int main(int argc, char** argv) {
    try {
      app_.parse(take_command(argc, argv), argv);
    } catch (const CLI::Success& asked) {  // --help, --version
      return app_.exit(asked);
    } catch (const CLI::ParseError& error) {
      return cli::refuse(advice(error, argc, argv), cli::usage);
    }
    return run_();
  }

 private:
  static void with_config(CLI::App& app, std::string& config) {
    app.add_option("-c,--config", config, "the config (./ledger.yaml, else built-in defaults)")
        ->type_name("FILE");
  }

  template <class Options>
  CLI::App* add(const char* name, const char* about, Options& options,
                int (*command)(const Options&)) {
    auto* sub = app_.add_subcommand(name, about);
    with_config(*sub, options.config);
    sub->add_flag("--json", options.json, "JSON lines");
    sub->callback([this, &options, command] {
      run_ = [this, &options, command] {
        if (options.config.empty()) options.config = config_;
        return command(options);
      };
    });
    return sub;
  }
  static void with_store(CLI::App* sub, std::string& store) {
    sub->add_option("STORE", store, "a file or a store URL; left out, the config's")->type_name("");
  }
  static std::string is_count(const std::string& text) {
    const bool digits =
        !text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == text.npos;
    return digits && std::stoul(text) > 0 ? "" : "takes a whole number from 1, not `" + text + "`";
  }
  static void with_last(CLI::App* sub, std::size_t& last, const char* about) {
    sub->add_option("-n,--last", last, about)->type_name("N")->check(is_count, "");
  }

  void add_serve() {
    auto* sub = app_.add_subcommand("serve", "the proxy");
    with_config(*sub, config_);
  }
  void add_check() { add("check", "validates the config", check_, cli::check); }
  void add_explain() {
    auto* sub =
        add("explain", "what Ledger would make of a call; sends nothing", explain_, cli::explain);
    sub->add_option("METHOD", explain_.method, "such as POST")->required()->type_name("");
    sub->add_option("URL", explain_.url, "absolute, or a path under a mount")
        ->required()
        ->type_name("");
    sub->add_option("-H,--header", explain_.headers, "a header of the call; repeatable")
        ->allow_extra_args(false)
        ->type_name("'NAME: VALUE'");
    sub->add_option("-d,--data", explain_.body, "the body, or @FILE (@- is stdin)")
        ->type_name("BODY");
  }
  static void with_filters(CLI::App* sub, cli::Filters& filters) {
    const auto add = [sub](const char* name, std::optional<std::string>& into, const char* type,
                           const char* about) {
      // Not bound to the optional: CLI11 would take '' for nothing asked.
      sub->add_option_function<std::string>(
             name, [&into](const std::string& text) { into = text; }, about)
          ->type_name(type)
          ->group("Which records");
    };
    add("--route", filters.route, "NAME",
        "of this route, or of this `METHOD host/path`; '': of no route");
    add("--agent", filters.agent, "NAME", "of this agent; '': of none");
    add("--run", filters.run, "NAME", "of this run; '': of none");
    add("--state", filters.state, "STATE", "in_flight, completed, released or in_doubt");
    add("--since", filters.since, "AGE|TIME",
        "changed since: 10m, 2h, 7d ago, or 2026-05-01T10:00:00Z");
  }

  void add_log() {
    auto* sub = add("log", "one line a route, the latest activity last", log_, cli::log);
    with_store(sub, log_.store);
    with_last(sub, log_.last, "only the N latest lines (--json: the newest N records)");
    with_filters(sub, log_.filters);
    sub->footer(
        "✓ all is fine, ? something is in doubt, … something is in flight, ↺ nothing was "
        "executed.\n"
        "Calls that no route names stand under their method and place. It is no longer a line a\n"
        "record: those are in `ledger log --json`, each one's history in `ledger show`, and what\n"
        "needs a hand in `ledger doubts`.");
  }
  void add_doubts() {
    auto* sub =
        add("doubts", "what is in doubt, why, and what to do about it", doubts_, cli::doubts);
    with_store(sub, doubts_.store);
    with_last(sub, doubts_.last, "only the newest N");
    with_filters(sub, doubts_.filters);
  }
  void add_show() {
    auto* sub = add("show", "one record whole, or the history of all", show_, cli::show);
    sub->add_option("STORE|ID", show_.arguments,
                    "a store, the beginning of a record's id (6 hex digits or more), or both")
        ->expected(0, 2)
        ->type_name("");
    with_last(sub, show_.last, "only the latest N events (--json: the newest N records)");
    with_filters(sub, show_.filters);
  }
  void add_stats() {
    auto* sub = add("stats", "sums by route, with the duplicate rate", stats_, cli::stats);
    with_store(sub, stats_.store);
    with_filters(sub, stats_.filters);
  }
  void add_tail() {
    auto* sub = add("tail", "records as they change, live", tail_, cli::tail);
    with_store(sub, tail_.store);
    with_filters(sub, tail_.filters);
  }
  void add_resolve() {
    auto* sub = add("resolve", "settles a record that is in doubt", resolve_, cli::resolve);
    sub->add_option("ID", resolve_.id, "a record's id, or the beginning of one")
        ->required()
        ->type_name("");
    with_store(sub, resolve_.store);
    sub->add_flag("--executed", resolve_.executed, "it happened: it is never sent again");
    sub->add_flag("--not-executed", resolve_.not_executed,
                  "it did not happen: its next repeat is sent");
    sub->add_option_function<std::string>(
           "--by", [this](const std::string& name) { resolve_.by = name; },
           "who says so; must be given where there is no terminal to ask at")
        ->type_name("NAME");
  }
  void add_clear() {
    auto* sub = add("clear", "forgets records, but never what is in flight", clear_, cli::clear);
    with_store(sub, clear_.store);
    sub->add_flag("--yes", clear_.yes, "do not ask");
    sub->add_flag("--in-doubt", clear_.in_doubt, "also what is in doubt");
    with_filters(sub, clear_.filters);
  }

  void add_ca() {
    auto* sub = add("ca", "the local CA, for opened https tunnels", ca_, cli::ca);
    sub->add_option("ACTION", ca_.action, "show, path (of the certificate) or rotate (a new one)")
        ->required()
        ->type_name("")
        ->check(CLI::IsMember({"show", "path", "rotate"}), "");
    sub->add_flag("--only-named", ca_.only_named,
                  "rotate: one that may sign for the hosts of today's https routes alone");
  }

  static void with_caller(CLI::App* sub, std::string& agent, std::string& run) {
    sub->add_option("--agent", agent, "names the agent in records")->type_name("NAME");
    sub->add_option("--run", run, "names this run of it")->type_name("NAME");
  }
  void add_run() {
    run_app_ = app_.add_subcommand(
        "run", "a command whose calls come through Ledger: ledger run python3 agent.py");
    with_config(*run_app_, run_options_.config);
    with_caller(run_app_, run_options_.agent, run_options_.run);
    run_app_->add_flag(
        "--strict", run_options_.strict,
        "refuse https tunnels that are not opened, instead of letting them by unseen");
    run_app_->footer(
        "ledger run [OPTIONS] [--] CMD ARGS: Ledger's options stand before CMD, all behind is "
        "CMD's.");
    run_app_->callback([this] {
      run_ = [this] {
        if (run_options_.command.empty())
          return cli::refuse(
              "run takes a command: ledger run python3 agent.py (see `ledger run --help`)",
              cli::usage);
        if (run_options_.config.empty()) run_options_.config = config_;
        return cli::run(run_options_);
      };
    });
  }

  // `ledger run CMD ARGS`: what belongs to the command is taken off the line before it is read, for
  // no option of it is ours and no word of it may be read otherwise than it stands. Returns what is
  // left.
  int take_command(int argc, char** argv) {
    const CLI::App* app = &app_;
    for (int i = 1; i < argc; ++i) {
      const std::string word = argv[i];
      const bool end = word == "--";
      if (!end && word.size() > 1 && word.front() == '-') {
        const auto equals = word.find('=');
        const auto* option = app->get_option_no_throw(word.substr(0, equals));
        if (option != nullptr && option->get_items_expected_min() > 0 && equals == word.npos) ++i;
      } else if (app == run_app_) {
        run_options_.command.assign(argv + i + (end ? 1 : 0), argv + argc);
        return i;
      } else if (word == run_app_->get_name()) {
        app = run_app_;
      } else {
        break;
      }
    }
    return argc;
  }

  void add_env() {
    auto* sub = add("env", "for a shell: eval \"$(ledger env)\"", env_, cli::env);
    with_caller(sub, env_.agent, env_.run);
  }

  void add_doctor() {
    add("doctor", "proves that each kind of client on this machine really comes through us",
        doctor_, cli::doctor);
  }

  void add_help() {
    auto* help = app_.add_subcommand("help", "of ledger, or of a subcommand: ledger help log");
    help->add_option("SUBCOMMAND", asked_about_, "such as log")->type_name("");
    help->callback([this] {
      run_ = [this] {
        const CLI::App* about = &app_;
        for (const auto* each : app_.get_subcommands(nullptr))
          if (each->get_name() == asked_about_) about = each;
        if (about == &app_ && !asked_about_.empty())
          return cli::refuse(unexpected(app_, asked_about_) + " (see `ledger help`)", cli::usage);
        // Not help(), which would tell of the subcommand that was read: of this one.
        std::cout << about->get_formatter()->make_help(
            about, about == &app_ ? "ledger" : "ledger " + asked_about_,
            CLI::AppFormatMode::Normal);
        return cli::fine;
      };
    });
    app_.add_subcommand("version", "the version")->callback([this] {
      run_ = [] {
        std::cout << version << '\n';
        return cli::fine;
      };
    });
  }

  // One line: what is wrong, the nearest word, and where to read on.
  std::string advice(const CLI::ParseError& error, int argc, char** argv) const {
    const auto chosen = app_.get_subcommands();
    const CLI::App& app = chosen.empty() ? app_ : *chosen.front();
    const std::string help =
        chosen.empty() ? "ledger --help" : "ledger " + app.get_name() + " --help";
    std::string what = error.what();
    if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr)
      if (const auto left = app_.remaining(true); !left.empty())
        what = unexpected(app, left.front());
    if (argc < 1 || argv == nullptr) return what;
    std::replace(what.begin(), what.end(), '\n', ' ');
    return what + " (see `" + help + "`)";
  }

  std::string unexpected(const CLI::App& app, const std::string& word) const {
    std::vector<std::string> names;
    const bool option = word.starts_with('-');
    if (option)
      for (const auto* each : app.get_options())
        for (const auto& name : each->get_lnames()) names.push_back("--" + name);
    else if (&app == &app_)
      for (const auto* each : app_.get_subcommands(nullptr)) names.push_back(each->get_name());
    const std::vector<std::string_view> views(names.begin(), names.end());
    const auto* kind = option ? "option" : "subcommand";
    if (!option && &app != &app_) return "`" + word + "` is one argument too many";
    return "there is no " + std::string(kind) + " `" + word + "`" + did_you_mean(word, views);
  }

  CLI::App app_;
  CLI::App* run_app_ = nullptr;
  std::string config_, asked_about_;
  cli::CheckOptions check_;
  cli::ExplainOptions explain_;
  cli::LogOptions log_;
  cli::DoubtsOptions doubts_;
  cli::ShowOptions show_;
  cli::StatsOptions stats_;
  cli::TailOptions tail_;
  cli::ResolveOptions resolve_;
  cli::ClearOptions clear_;
  cli::CaOptions ca_;
  cli::RunOptions run_options_;
  cli::EnvOptions env_;
  cli::DoctorOptions doctor_;
  Run run_;
};

}  // namespace

int main(int argc, char** argv) {
  const int code = CommandLine().main(argc, argv);
  std::cout.flush();
  return std::cout || code != cli::fine ? code : cli::refuse("the output could not be written");
}
