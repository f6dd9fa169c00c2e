// The JSON bodies that the admin endpoint takes, read strictly: a misspelt member is refused, not
// left out in silence.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "admin/explain.h"
#include "guard/decide.h"
#include "store/record.h"

namespace ledger {

// {"verdict": "executed" | "not_executed", "response": {"status", "headers", "body"}, "by": "ann"}.
// `now` becomes the time of the answer. Error: one sentence that says what is accepted.
tl::expected<Resolved, std::string> resolution_from(std::string_view body, Instant now);

// {"by": "ann"}, or nothing: who says so; empty where it does not say.
tl::expected<std::string, std::string> by_from(std::string_view body);

// {"method", "url", "headers", "body", "agent", "run"}.
tl::expected<ExplainRequest, std::string> explain_request_from(std::string_view body);

}  // namespace ledger
