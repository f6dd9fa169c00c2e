// ledger resolve: a person knows what became of a call in doubt.
#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "cli/records.h"
#include "cli/rows.h"
#include "guard/operate.h"

namespace ledger::cli {
namespace {

constexpr std::size_t by_max = 128;

// Who sits at this terminal.
std::string login_name() {
  if (const auto* user = ::getpwuid(::geteuid()); user != nullptr) return user->pw_name;
  const auto* name = std::getenv("USER");
  return name != nullptr && *name != '\0' ? name : "somebody at a terminal";
}

// Shows the record and waits for a yes.
bool asks_and_gets_yes(const Record& record, bool executed, Instant now) {
  const bool colour = shows_colour(2);
  const auto rows = settling_rows(record, now);
  Columns columns;
  for (const auto& row : rows) columns.fit(row);
  for (const auto& row : rows) std::cerr << columns.line(row, colour) << '\n';
  std::cerr << (executed ? "It happened, and is never sent again"
                         : "It did not happen, and its next repeat is sent")
            << ": is that so? [y/N] " << std::flush;
  std::string reply;
  std::getline(std::cin, reply);
  return reply == "y" || reply == "Y" || reply == "yes";
}

std::string mistake_in(const ResolveOptions& options) {
  if (options.executed == options.not_executed)
    return "resolve takes exactly one of --executed and --not-executed";
  if (!is_id_prefix(options.id))
    return "`" + options.id + "` is not a record's id: give 6 to 64 of its hex digits";
  if (!options.by && !is_terminal(0))
    return "resolve keeps who settled it: add --by NAME where nobody can be asked";
  if (options.by &&
      (options.by->empty() || options.by->size() > by_max || clean(*options.by) != *options.by))
    return "--by takes a name, of up to " + std::to_string(by_max) + " bytes";
  return "";
}

}  // namespace

int resolve(const ResolveOptions& options) {
  if (const auto mistake = mistake_in(options); !mistake.empty()) return refuse(mistake, usage);
  const auto store = open_existing(options);
  if (!store) return store.error();
  const auto id = find_id(**store, options.id);
  if (!id) return id.error();
  if (is_terminal(0)) {
    const auto found = record_as_it_stands(**store, *id);
    if (!found) return refuse(found.error().message);
    // Of any other record the refusal says what is the case.
    if (*found && (*found)->state == State::in_doubt &&
        !asks_and_gets_yes(**found, options.executed, (*store)->now()))
      return refuse("nothing was settled");
  }
  const auto by = options.by.value_or(login_name());
  const auto resolved = resolve_record(**store, *id, {options.executed, nullptr, by});
  if (!resolved) return refuse(resolved.error().message);
  if (options.json)
    print_json(record_json(*resolved, true));
  else
    std::cout << name_of(*resolved) << " " << short_id(*id)
              << (options.executed ? " counts as executed: it is never sent again\n"
                                   : " counts as not executed: its next repeat is sent\n");
  return fine;
}

}  // namespace ledger::cli
