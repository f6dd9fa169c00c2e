// JSON-RPC 2.0 messages that are MCP's own: they belong to the protocol, and are no calls.
#include <algorithm>
#include <array>

#include "fingerprint/body.h"
#include "fingerprint/identity.h"

namespace ledger {
namespace {

using Kind = JsonNode::Kind;

// Requests of MCP (schema of 2025-11-25, and what 2026-07-28 adds) but for tools/call, which is a
// call.
constexpr std::array<std::string_view, 22> protocol_methods = {"initialize",
                                                               "ping",
                                                               "server/discover",
                                                               "tools/list",
                                                               "resources/list",
                                                               "resources/templates/list",
                                                               "resources/read",
                                                               "resources/subscribe",
                                                               "resources/unsubscribe",
                                                               "subscriptions/listen",
                                                               "prompts/list",
                                                               "prompts/get",
                                                               "completion/complete",
                                                               "logging/setLevel",
                                                               "roots/list",
                                                               "sampling/createMessage",
                                                               "elicitation/create",
                                                               "tasks/list",
                                                               "tasks/get",
                                                               "tasks/result",
                                                               "tasks/cancel",
                                                               "tasks/update"};

bool is_protocol_method(const JsonNode& method) {
  return method.kind == Kind::string && (method.text.starts_with("notifications/") ||
                                         std::find(protocol_methods.begin(), protocol_methods.end(),
                                                   method.text) != protocol_methods.end());
}

// A member that is foreign to the message makes it plain JSON: nobody knows what it does elsewhere.
bool has_only(const JsonDocument& document, const JsonNode& message,
              std::initializer_list<std::string_view> members) {
  for (const auto* m = document.first_child(message); m != nullptr; m = document.next(*m))
    if (std::find(members.begin(), members.end(), m->key) == members.end()) return false;
  return true;
}

bool is_protocol_message(const JsonDocument& document, const JsonNode& message) {
  if (message.kind != Kind::object) return false;
  const auto* version = document.member(message, "jsonrpc");
  if (version == nullptr || version->kind != Kind::string || version->text != "2.0") return false;
  if (const auto* method = document.member(message, "method")) {
    const auto* params = document.member(message, "params");
    return is_protocol_method(*method) && (params == nullptr || params->kind == Kind::object) &&
           has_only(document, message, {"jsonrpc", "id", "method", "params"});
  }
  const bool result = document.member(message, "result") != nullptr;
  const bool error = document.member(message, "error") != nullptr;
  return result != error && document.member(message, "id") != nullptr &&
         has_only(document, message, {"jsonrpc", "id", "result", "error"});
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
  if (root.kind != Kind::array) return is_protocol_message(*document, root);
  // A batch (section 6) is guarded as soon as one of its messages is a call.
  const auto* message = document->first_child(root);
  if (message == nullptr) return false;
  while (message != nullptr && is_protocol_message(*document, *message))
    message = document->next(*message);
  return message == nullptr;
}

}  // namespace ledger
