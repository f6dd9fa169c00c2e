#include "store/record.h"

namespace ledger {

std::string_view to_string(State state) {
  switch (state) {
    case State::in_flight:
      return "in_flight";
    case State::completed:
      return "completed";
    case State::released:
      return "released";
    case State::in_doubt:
      return "in_doubt";
  }
  return "unknown";
}

std::optional<State> state_from(std::string_view text) {
  for (auto state : {State::in_flight, State::completed, State::released, State::in_doubt})
    if (to_string(state) == text) return state;
  return std::nullopt;
}

}  // namespace ledger
