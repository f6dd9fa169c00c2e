// What Ledger would make of a call, without sending it.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "admin/json.h"
#include "config/config.h"

namespace ledger {

struct ExplainRequest {
  std::string method, url;  // absolute, or a path that a mount maps
  Headers headers;
  std::string body;
  std::string agent, run;
};

// {route, policy, canonical, fingerprint, key, key_source, would}. Error: one sentence.
tl::expected<Json, std::string> explain(const Config& config, Store& store,
                                        const ExplainRequest& request);

}  // namespace ledger
