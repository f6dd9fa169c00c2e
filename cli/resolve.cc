// ledger resolve: a person knows what became of a call in doubt.
#include <iostream>

#include "cli/commands.h"
#include "cli/rows.h"
#include "guard/operate.h"

namespace ledger::cli {

int resolve(const ResolveOptions& options) {
  if (options.executed == options.not_executed)
    return refuse("resolve takes exactly one of --executed and --not-executed", usage);
  if (!is_id_prefix(options.id))
    return refuse("`" + options.id + "` is not a record's id: give 6 to 64 of its hex digits",
                  usage);
  const auto store = open_existing(options.store, options);
  if (!store) return store.error();
  const auto id = find_id(**store, options.id);
  if (!id) return id.error();
  const auto resolved = resolve_record(**store, *id, options.executed, nullptr);
  if (!resolved) return refuse(resolved.error().message);
  if (options.json)
    print_json(record_json(*resolved, true));
  else
    std::cout << name_of(*resolved) << " " << short_id(*id)
              << (options.executed ? " counts as executed\n"
                                   : " counts as not executed: its next repeat is sent\n");
  return fine;
}

}  // namespace ledger::cli
