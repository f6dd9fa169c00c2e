// Which operation a GraphQL document makes a server run (GraphQL specification, October 2021,
// sections 2 and 6.1).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace ledger {

enum class GraphqlOperation : std::uint8_t { query, mutation, subscription };

// The operation named `name`, or the only one where `name` is empty. nullopt: it cannot be told for
// sure. Documents are a stranger's: read once, without recursion, and whatever two readers could
// read in two ways (a character outside ASCII in a comment, two operations of one name, definitions
// of types) tells nothing.
std::optional<GraphqlOperation> selected_operation(std::string_view document,
                                                   std::string_view name);

}  // namespace ledger
