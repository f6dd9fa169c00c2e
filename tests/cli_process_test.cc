// The real binary beside a store: what each subcommand prints, and its exit code.
#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "admin/json.h"
#include "guard/operate.h"

using namespace ledger;

namespace {

// A folder of its own, as the working directory of every command, with a config of defaults: its
// store is the ledger.db beside it.
struct Place {
  Place() {
    char pattern[] = "/tmp/ledger-cli-XXXXXX";
    folder = mkdtemp(pattern);
    write("ledger.yaml", "");
  }
  ~Place() { std::filesystem::remove_all(folder); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder + "/" + name) << text;
  }
  std::string folder;
};

struct Ran {
  int code = -1;
  std::string out;  // stdout and stderr
};
Ran run(const Place& place, const std::string& arguments) {
  // Nobody sits there who could be asked, wherever the tests run.
  const auto command =
      "exec </dev/null; cd " + place.folder + " && " LEDGER_BINARY " " + arguments + " 2>&1";
  Ran ran;
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  char buffer[4096];
  for (std::size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) ran.out.append(buffer, n);
  const int status = pclose(pipe);
  ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ran;
}

// Puts a record whose id is 32 times `byte`.
void put(Store& store, std::uint8_t byte, const std::string& route, State state, Counts counts,
         const std::string& owner = "",
         const std::string& url = "https://api.example.com/v1/things") {
  Record r;
  r.id.fill(byte);
  r.state = state;
  r.route = route;
  r.method = "POST";
  r.url = url;
  r.created_at = r.updated_at = store.now();
  r.history = {{r.created_at, "claimed", ""}};
  if (state == State::in_doubt)
    r.history.push_back({r.created_at, "in_doubt", "time-out after 80 s"});
  r.ttl = std::chrono::hours(24);
  r.owner = owner;
  r.ownerless_at = store.now() + std::chrono::hours(1);
  Replace write;
  write.id = r.id;
  write.next = std::move(r);
  write.add = counts;
  REQUIRE(replace_now(store, std::move(write))->swapped);
}

// Completed (aa...), in doubt (ab...) and in flight (cc...).
void fill(const Place& place, const std::string& owner = "") {
  const auto store = open_store(place.folder + "/ledger.db", false, true);
  REQUIRE(store);
  put(**store, 0xaa, "charge_card", State::completed, {5, 1, 4, 0});
  put(**store, 0xab, "", State::in_doubt, {1, 1, 0, 0});
  put(**store, 0xcc, "send_sms", State::in_flight, {12, 1, 0, 0}, owner);
}

}  // namespace

TEST_CASE("usage mistakes: exit 2 and one helpful line") {
  const Place place;
  std::filesystem::remove(place.folder + "/ledger.yaml");
  const auto refused = [&](const std::string& arguments, const std::string& says) {
    const auto ran = run(place, arguments);
    CAPTURE(arguments);
    CHECK(ran.code == 2);
    CHECK(ran.out.find(says) != std::string::npos);
    CHECK(std::count(ran.out.begin(), ran.out.end(), '\n') == 1);
  };
  refused("shwo", "there is no subcommand `shwo`; did you mean `show`?");
  refused("log --jsno", "there is no option `--jsno`; did you mean `--json`?");
  refused("log a b", "`b` is one argument too many");
  refused("log -n 0", "takes a whole number from 1");
  refused("resolve", "ID is required");
  refused("resolve abcdef", "exactly one of --executed and --not-executed");
  refused("resolve abcdef --executed --not-executed", "exactly one of");
  refused("resolve nonsense --executed", "is not a record's id");
  refused("resolve abcdef --executed </dev/null", "add --by NAME");
  refused("resolve abcdef --executed --by '' </dev/null", "--by takes a name");
  refused("help shwo", "there is no subcommand `shwo`; did you mean `show`?");
  refused("run", "run takes a command");
  refused("run --agnt x env", "there is no option `--agnt`; did you mean `--agent`?");
  refused("log --state in_dubt", "did you mean `in_doubt`?");
  refused("log --since soon", "--since takes an age");
  refused("show abcdef --state completed", "not both");
  refused("show a.db b.db", "show takes one store");
  refused("clear </dev/null", "add --yes");
  refused("check", "there is no ledger.yaml here");
  refused("explain POST https://x.com -H nonsense", "-H takes 'Name: value'");
  refused("log -c nope.yaml", "nope.yaml: cannot be read");
}

TEST_CASE("help and version") {
  const Place place;
  CHECK(run(place, "--version").out.starts_with("ledger "));
  for (const auto* arguments : {"--version", "-V", "version", "--help", "log --help", "help"})
    CHECK(run(place, arguments).code == 0);
  CHECK(run(place, "-V").out == run(place, "version").out);
  CHECK(run(place, "help").out == run(place, "--help").out);
  CHECK(run(place, "help log").out.find("--last") != std::string::npos);
  CHECK(run(place, "help log").out.find("no longer a line a") != std::string::npos);
}

TEST_CASE("check") {
  const Place place;
  place.write("ledger.yaml", "mounts: { /x: { upstream: \"https://x.com\" } }\n");
  const auto good = run(place, "check");
  CHECK(good.code == 0);
  CHECK(
      good.out ==
      "ledger.yaml is fine: 0 routes, 1 mount, 1 listener\n"
      "no https tunnel is opened: no route names an https host; every other tunnel goes by unseen "
      "and unguarded\n");
  place.write("ledger.yaml",
              "routes: [{name: b, match: POST https://h.example/x}, {name: a, match: POST /x}]\n");
  const auto partly = run(place, "check").out;
  CHECK(partly.find("https tunnels are opened to h.example; every other tunnel goes by unseen") !=
        std::string::npos);
  CHECK(partly.find("route a names no host") != std::string::npos);
  CHECK(partly.find("route b") == std::string::npos);
  CHECK(Json::parse(run(place, "check --json").out)["blind_in_part"] == Json::array({"a"}));
  place.write("ledger.yaml", "routes: [{name: a, match: POST /x}]\nhttps: {strict: true}\n");
  CHECK(run(place, "check").out.find("names no host: it guards") == std::string::npos);
  CHECK(run(place, "check").out.find("every other tunnel is refused") != std::string::npos);
  place.write("bad.yaml", "listen: 127.0.0.1:8080\nrouts: []\nmouts: {}\n");
  for (const auto* arguments : {"check -c bad.yaml", "-c bad.yaml check", "serve -c bad.yaml"}) {
    const auto bad = run(place, arguments);
    CHECK(bad.code == 2);
    CHECK(bad.out ==
          "bad.yaml:2:1: unknown key `routs`; did you mean `routes`?\n"
          "bad.yaml:3:1: unknown key `mouts`; did you mean `mounts`?\n");
  }
}

TEST_CASE("serve says in one line why it cannot") {
  const Place place;
  place.write("ledger.yaml",
              "listen: 127.0.0.1:0\nadmin: { listen: 127.0.0.1:0 }\n"
              "store: { url: \"sqlite:nowhere/ledger.db\" }\n");
  const auto ran = run(place, "serve");
  CHECK(ran.code == 1);
  CHECK(ran.out.starts_with("ledger: cannot create the store nowhere/ledger.db"));
  CHECK(std::count(ran.out.begin(), ran.out.end(), '\n') == 1);
}

TEST_CASE("stores that cannot be looked into") {
  const Place place;
  CHECK(run(place, "log").out.find("there is no store ledger.db") != std::string::npos);
  CHECK(run(place, "log").code == 1);
  CHECK(run(place, "stats memory:").code == 1);
  CHECK(run(place, "stats memory:").out.find("ask its admin endpoint") != std::string::npos);
}

TEST_CASE("log, stats and show") {
  const Place place;
  const auto proxy = open_store(place.folder + "/ledger.db", false, true);
  fill(place, *(*proxy)->join_instance());
  CHECK(
      run(place, "log").out ==
      "✓ charge_card                      attempts 5    executed 1   blocked 4    ← retried 4×\n"
      "? POST api.example.com/v1/things   attempts 1    executed 1   blocked 0    in doubt 1\n"
      "… send_sms                         attempts 12   executed 1   blocked 11   ← retried 11×\n");
  CHECK(run(place, "log sqlite:ledger.db -n 1").out.starts_with("… send_sms   attempts 12"));
  const auto json = run(place, "log --json -n 3").out;
  const auto first = Json::parse(json.substr(0, json.find('\n')));
  CHECK(first["route"] == "charge_card");
  CHECK(first["blocked"] == 4);

  const auto stats = run(place, "stats --json");
  CHECK(Json::parse(stats.out)["totals"]["attempts"] == 18);
  CHECK(run(place, "stats").out.find("duplicate rate") != std::string::npos);

  const auto one = run(place, "show ABABAB");
  CHECK(one.code == 0);
  CHECK(one.out.find("settle it: ledger resolve abababab --executed") != std::string::npos);
  CHECK(run(place, "show ledger.db aaaaaa --json").out.starts_with("{\"id\":\"aaaa"));
  CHECK(run(place, "show dddddd").code == 1);
  CHECK(run(place, "show").out.find("   cccccccc   send_sms") != std::string::npos);
}

TEST_CASE("the log has one line a route, and one a place for calls that no route names") {
  const Place place;
  const auto store = open_store(place.folder + "/ledger.db", false, true);
  put(**store, 0x01, "charge_card", State::completed, {5, 1, 4, 0});
  put(**store, 0x02, "refund", State::released, {1, 1, 0, 0});
  put(**store, 0x03, "charge_card", State::released, {2, 1, 0, 0});
  put(**store, 0x04, "", State::completed, {1, 1, 0, 0});
  put(**store, 0x05, "", State::completed, {3, 1, 2, 0});
  put(**store, 0x06, "charge_card", State::in_doubt, {2, 2, 0, 0});
  put(**store, 0x07, "charge_card", State::in_doubt, {1, 1, 0, 0});
  CHECK(
      run(place, "log").out ==
      "↺ refund                           attempts 1    executed 1   blocked 0\n"
      "✓ POST api.example.com/v1/things   attempts 4    executed 2   blocked 2   ← retried 2×\n"
      "? charge_card                      attempts 10   executed 5   blocked 5   ← retried 5×   in "
      "doubt 2\n");
  CHECK(run(place, "log -n 1").out.starts_with("? charge_card   attempts 10"));
  CHECK(run(place, "log --route refund").out == "↺ refund   attempts 1   executed 1   blocked 0\n");
  CHECK(run(place, "log --route 'POST api.example.com/v1/things'").out.starts_with("✓ POST api"));
  CHECK(run(place, "log --route ''").out.starts_with("✓ POST api"));
  CHECK(run(place, "log --state released --route charge_card").out ==
        "↺ charge_card   attempts 2   executed 1   blocked 1   ← retried 1×\n");
  CHECK(run(place, "log --agent nobody").out.empty());
}

TEST_CASE("places without end share a line once there are too many") {
  const Place place;
  {
    const auto store = open_store(place.folder + "/ledger.db", false, true);
    for (int i = 0; i < 203; ++i)
      put(**store, static_cast<std::uint8_t>(i), "", State::completed, {1, 1, 0, 0}, "",
          "https://h/" + std::to_string(i));
  }
  const auto log = run(place, "log").out;
  CHECK(std::count(log.begin(), log.end(), '\n') == 201);
  CHECK(log.find("older calls of other places)   attempts 3") != std::string::npos);
  CHECK(log.ends_with("✓ POST h/202                      attempts 1   executed 1   blocked 0\n"));
  CHECK(run(place, "log -n 1").out == "✓ POST h/202   attempts 1   executed 1   blocked 0\n");
}

TEST_CASE("what a dead proxy left in flight is shown in doubt before the next one finds it") {
  const Place place;
  fill(place, "a-dead-instance");
  CHECK(run(place, "log --route send_sms").out.starts_with("? send_sms"));
  CHECK(run(place, "doubts --route send_sms").out.find("the proxy that sent it stopped") !=
        std::string::npos);
  CHECK(run(place, "show cccccc").out.find("? in doubt") != std::string::npos);
  CHECK(Json::parse(run(place, "stats --json").out)["totals"]["in_doubt"] == 2);
  CHECK(run(place, "log --state in_flight").out.empty());
  CHECK(run(place, "resolve cccccc --executed --by me").code == 0);
}

TEST_CASE("doubts: what is in doubt, why, and what to do about it") {
  const Place place;
  CHECK(run(place, "doubts").code == 1);  // no store
  {
    const auto store = open_store(place.folder + "/ledger.db", false, true);
    put(**store, 0x11, "charge_card", State::completed, {5, 1, 4, 0});
  }
  CHECK(run(place, "doubts").code == 0);
  CHECK(run(place, "doubts").out.empty());
  fill(place);
  const auto doubts = run(place, "doubts").out;
  CHECK(doubts.find("abababab   POST api.example.com/v1/things") != std::string::npos);
  CHECK(doubts.find("time-out after 80 s") != std::string::npos);
  CHECK(doubts.find("aaaaaaaa") == std::string::npos);
  CHECK(doubts.find("`ledger resolve ID --executed` (never sent again)") != std::string::npos);
  CHECK(doubts.find("`ledger resolve ID --not-executed` (the next repeat is sent)") !=
        std::string::npos);
  CHECK(run(place, "doubts ledger.db").out.find("`ledger resolve ID --executed ledger.db`") !=
        std::string::npos);
  const auto json = Json::parse(run(place, "doubts --json --route ''").out);
  CHECK(json["id"].get<std::string>().starts_with("abab"));
  CHECK(json["why"] == "time-out after 80 s");
  CHECK(json["since"].get<std::string>().ends_with("Z"));
}

TEST_CASE("filters hold for stats and clear as well") {
  const Place place;
  fill(place);
  const auto stats = Json::parse(run(place, "stats --json --route charge_card").out);
  CHECK(stats["totals"]["attempts"] == 5);
  CHECK(stats["routes"].size() == 1);
  CHECK(Json::parse(run(place, "stats --json --since 1h").out)["totals"]["attempts"] == 18);
  CHECK(Json::parse(
            run(place, "stats --json --since 2100-01-01T00:00:00Z").out)["totals"]["attempts"] ==
        0);
  CHECK(run(place, "clear --yes --route nothing").out == "cleared 0, kept 0\n");
  CHECK(run(place, "clear --yes --agent nobody --in-doubt").out == "cleared 0, kept 0\n");
  CHECK(run(place, "clear --yes --route '' --in-doubt").out == "cleared 1, kept 0\n");
  CHECK(run(place, "show aaaaaa").code == 0);
}

TEST_CASE("resolve settles what is in doubt, once") {
  const Place place;
  fill(place);
  CHECK(run(place, "resolve aaaaaa --executed --by me").out.find("not in_doubt") !=
        std::string::npos);
  CHECK(run(place, "resolve aaaaaa --executed --by me").code == 1);
  CHECK(run(place, "resolve dddddd --executed --by me").code == 1);
  CHECK(run(place, "resolve ababab --not-executed --by me").code == 0);
  const auto again = run(place, "resolve ababab --not-executed --by me");
  CHECK(again.code == 1);
  CHECK(std::count(again.out.begin(), again.out.end(), '\n') == 1);
  CHECK(run(place, "show ababab").out.find("not executed") != std::string::npos);
}

TEST_CASE("clear keeps what is in flight, and what is in doubt unless told so") {
  const Place place;
  const auto proxy = open_store(place.folder + "/ledger.db", false, true);
  fill(place, *(*proxy)->join_instance());
  CHECK(run(place, "clear --yes").out == "cleared 1, kept 2 (1 in flight, 1 in doubt)\n");
  CHECK(run(place, "clear ledger.db --yes --in-doubt").out == "cleared 1, kept 1 (1 in flight)\n");
  const auto last = run(place, "clear --yes --in-doubt --json");
  CHECK(Json::parse(last.out)["kept"] == 1);
}

TEST_CASE("explain") {
  const Place place;
  const auto json = run(place, "explain --json POST http://x.com/a -d '{\"b\": 1, \"a\": 49.0}'");
  CHECK(json.code == 0);
  CHECK(Json::parse(json.out)["canonical"] == "{\"a\":49e0,\"b\":1e0}");
  CHECK(run(place, "explain GET http://x.com/a").out.find("pass: it is not guarded") !=
        std::string::npos);
  const std::string call = "explain POST http://x.com/a -d a=1 -H 'Authorization: Bearer x'";
  CHECK(run(place, call).out.find("note: the store sqlite:ledger.db") != std::string::npos);
  fill(place);
  CHECK(run(place, call).out.find("note:") == std::string::npos);
  place.write("body", "x\x1b[2J");
  CHECK(run(place, "explain POST http://x.com/a -d @body -H 'Content-Type: text/plain'")
            .out.find("x\\x1b[2J") != std::string::npos);
}

TEST_CASE("tail ends cleanly") {
  const Place place;
  fill(place);
  const auto piped = run(place, "tail | head -n 1");
  CHECK(piped.out.find("✓ charge_card") != std::string::npos);
  // timeout(1) sends SIGTERM.
  const auto stopped = std::system(
      ("cd " + place.folder + " && timeout --preserve-status 1 " LEDGER_BINARY " tail >/dev/null")
          .c_str());
  CHECK(WEXITSTATUS(stopped) == 0);
}

TEST_CASE("output that cannot be written is a failure") {
  const Place place;
  fill(place);
  CHECK(run(place, "log >/dev/full").code == 1);
}
