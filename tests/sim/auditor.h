// Watches a simulated history and says which rule it broke, if any. It shares no code with the
// guard: it is told what was sent, what took effect, what was written, what a person did and what
// each caller got, and keeps books of its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace ledger::sim {

using Time = std::chrono::milliseconds;  // true time, which is the store's clock

// What the route promises, in the auditor's words.
struct Rules {
  unsigned max = 1;
  std::optional<Time> ttl;           // nullopt: forever
  std::optional<Time> in_doubt_ttl;  // nullopt: forever
  bool sends_again = false;          // a doubt is sent again under its upstream key
  bool honoured = false;             // and the upstream honours that key
  Time wait{0}, timeout{0};
};

// A record as a store has written it.
struct Written {
  enum class State { in_flight, completed, released, in_doubt } state = State::in_flight;
  std::uint64_t claim = 0, generation = 0;
  bool has_answer = false;
  std::string answer;  // status and body
  bool by_person = false;
  Time decided{0};  // by the store's clock, when its writer asked for it
};

// What a caller got.
struct Reply {
  enum class Kind { answered, rejected, not_sent, unknown, refused } kind = Kind::refused;
  bool executed = false;  // it led the execution
  bool replayed = false;  // from the record
  std::string answer;     // status and body, where there is one
  std::string token;      // of the effect that the answer speaks of; empty: of none
  std::string slug;       // of a refusal
  bool safe_to_retry = false;
  std::uint64_t generation = 0;  // of the execution that it led
};

struct Violation {
  std::string rule, what;
  int key = 0;
};

class Auditor {
 public:
  explicit Auditor(const Rules& rules) : rules_(rules) {}

  // --- the wire: a sending begins, may take effect while it is there, and is over -------------
  void sent(int key, std::uint64_t generation, int sending, Time now);
  void effect(int key, std::uint64_t generation, const std::string& token, Time now);
  void wire_closed(int key, int sending);

  // --- the store and people ---------------------------------------------------------------------
  void wrote(int key, const Written& record, Time now);
  void deleted(int key, Time now);

  // --- callers ------------------------------------------------------------------------------
  void asked(int call, int key, Time now);
  // `slack`: for how long its instance stood still or its store did not answer.
  void answered(int call, const Reply& reply, Time now, Time slack);
  void crashed(int call);  // its instance died: it is owed nothing

  // All is over: is anybody still waiting?
  void finish();

  const std::optional<Violation>& violation() const { return violation_; }
  std::uint64_t effects() const { return effects_; }

 private:
  struct Generation {
    unsigned effects = 0, on_wire = 0;
    bool released = false;  // somebody was told that it did not happen
  };
  struct Book {
    std::optional<Written> record;
    std::optional<Time> expires;
    std::map<std::uint64_t, Generation> generations;
    std::map<int, std::uint64_t> wire;  // sending -> its generation
    std::map<std::string, unsigned> tokens;
    unsigned effects = 0, budget = 0;
    unsigned epoch = 0;  // the promise began anew so often
    std::optional<std::string>
        answer;  // Of earlier epochs: a lookup that began in one of them may still be under way.
    std::set<std::string> past;
    bool known = false;
  };
  struct Waiting {
    int key = 0;
    Time since{0};
    unsigned epoch = 0;
  };
  Book& book(int key);
  static void next_epoch(Book& book);
  void anew(Book& book, unsigned more);
  void claimed(int key, Book& book, const Written& record, Time now);
  void ended(int key, Book& book, const Written& record);
  void check_words(int key, Book& book, const Reply& reply, const Waiting& call);
  void check_time(int key, const Reply& reply, const Waiting& call, Time now, Time slack);
  void fail(int key, const char* rule, std::string what);

  const Rules rules_;
  std::map<int, Book> books_;
  std::map<int, Waiting> waiting_;
  std::uint64_t effects_ = 0;
  std::optional<Violation> violation_;
};

}  // namespace ledger::sim
