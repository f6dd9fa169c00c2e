// What one call carries from step to step (private to the session's files).
#pragma once

#include "proxy/session.h"

namespace ledger {

struct Session::CallState {
  const Head& head;  // the reader's: valid until the next call is read
  Target target{};
  Caller caller{};
  Matched matched{};
  const Policy* policy = nullptr;
  std::string key{};  // the record's id in hex; empty: not guarded, or not known yet
  bool to_head = false;

  std::string_view route() const {
    return matched.route ? std::string_view(matched.route->name) : "";
  }
};

}  // namespace ledger
