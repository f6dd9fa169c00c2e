#include <algorithm>

#include "fingerprint/body.h"
#include "fingerprint/identity.h"

namespace ledger {
namespace {

bool is_string(const JsonNode* node, std::string_view text) {
  return node != nullptr && node->kind == JsonNode::Kind::string && node->text == text;
}

// A JSON-RPC 2.0 message (section 4) that calls no tool.
bool is_other_message(const JsonDocument& document, const JsonNode& node) {
  return is_string(document.member(node, "jsonrpc"), "2.0") &&
         !is_string(document.member(node, "method"), "tools/call");
}

}  // namespace

bool is_unguarded_json_rpc(const Call& call) {
  if (!has_json_type(call)) return false;
  // Most JSON is no JSON-RPC, and need not be read to see it.
  if (call.body.find("jsonrpc") == call.body.npos && !find_header(call, "Content-Encoding"))
    return false;
  const Body body(call);
  const auto* document = body.json();
  if (document == nullptr) return false;
  const auto& root = *document->root();
  if (root.kind != JsonNode::Kind::array) return is_other_message(*document, root);
  // A batch (section 6) is guarded as soon as one of its messages is.
  const auto* message = document->first_child(root);
  if (message == nullptr) return false;
  while (message != nullptr && is_other_message(*document, *message))
    message = document->next(*message);
  return message == nullptr;
}

}  // namespace ledger
