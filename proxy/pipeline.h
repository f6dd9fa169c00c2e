// What one call carries from step to step (private to the session's files).
#pragma once

#include "proxy/session.h"

namespace ledger {

struct Session::CallState {
  const Head& head;                 // the reader's: valid until the next call is read
  const Destination* to = nullptr;  // the session's
  Caller caller{};
  std::string record{};  // the record's id in hex; empty: not guarded, or not known yet
  bool to_head = false;

  std::string_view route() const {
    return to && to->matched.route ? std::string_view(to->matched.route->name) : "";
  }
};

}  // namespace ledger
