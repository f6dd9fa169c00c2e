// What people write who know a thing by another name: the words of other tools, and of the Python
// library that Ledger grew out of. Private to config/. Each hint is the end of an error's sentence.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ledger {

// "write `policy: pass`" for `unlimited` in a route; empty: nothing is known of it.
std::string instead_of_key(std::string_view section, std::string_view key);
// "; write `pass`" for `policy: unlimited`, or nothing.
std::string instead_of_policy(std::string_view word);

// `true`, `off`, `null`: said where a name is wanted.
bool is_switch(std::string_view text);
bool is_number(std::string_view text);

// A part of a call as other tools spell it, as it is spelled here: `body.a.b` is `body:/a/b`, and
// so are `request.body["a"].b` and `body:a.b`; `headers.X` is `header:X`.
std::optional<std::string> meant_part(std::string_view text);
// `a.0.b` and `$.a[0].b` are `/a/0/b`.
std::optional<std::string> meant_pointer(std::string_view text);
// "; did you mean `body:/a/b`?", or nothing. `sources`: those that would do, each between spaces.
std::string did_you_mean_part(std::string_view text, std::string_view sources);

}  // namespace ledger
