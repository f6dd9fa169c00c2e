// ledger explain: what Ledger would make of a call. Nothing is sent and nothing is written.
#include "admin/explain.h"

#include <algorithm>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>

#include "cli/commands.h"
#include "cli/terminal.h"

namespace ledger::cli {
namespace {

constexpr std::size_t canonical_columns = 2000;  // more than a person reads

bool is_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

// "Name: value" as curl takes it.
tl::expected<std::pair<std::string, std::string>, std::string> header_from(
    const std::string& text) {
  const auto colon = text.find(':');
  if (colon == std::string::npos || !is_token(text.substr(0, colon)))
    return tl::unexpected("-H takes 'Name: value', not `" + text + "`");
  auto value = text.substr(colon + 1);
  value.erase(0, value.find_first_not_of(" \t"));
  value.erase(value.find_last_not_of(" \t") + 1);
  return std::pair(text.substr(0, colon), value);
}

tl::expected<std::string, std::string> body_from(const std::string& text) {
  if (!text.starts_with('@')) return text;
  const auto path = text.substr(1);
  if (path == "-") return std::string(std::istreambuf_iterator<char>(std::cin), {});
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (file && file.peek() != std::ifstream::traits_type::eof()) content << file.rdbuf();
  if (!file.is_open() || file.bad())
    return tl::unexpected("the body file " + path + " cannot be read");
  return content.str();
}

tl::expected<ExplainRequest, std::string> request_from(const ExplainOptions& options) {
  ExplainRequest request;
  request.method = options.method;
  request.url = options.url;
  if (!is_token(request.method))
    return tl::unexpected("`" + request.method + "` is not a method, such as POST");
  for (const auto& text : options.headers) {
    auto header = header_from(text);
    if (!header) return tl::unexpected(header.error());
    // As from a client of a mount: they name the caller and are never forwarded.
    if (is_name(header->first, "Ledger-Agent"))
      request.agent = header->second;
    else if (is_name(header->first, "Ledger-Run"))
      request.run = header->second;
    else
      request.headers.push_back(std::move(*header));
  }
  auto body = body_from(options.body);
  if (!body) return tl::unexpected(body.error());
  request.body = std::move(*body);
  return request;
}

std::string meaning(const std::string& would) {
  if (would == "execute") return "execute: it would be sent";
  if (would == "replay") return "replay: the recorded answer";
  if (would == "wait") return "wait: the same call is running, and its outcome is shared";
  if (would == "pass") return "pass: it is not guarded, every such call is sent";
  if (would == "blind")
    return "blind: its https tunnel is not opened, so nobody sees the call; name the host in a "
           "route";
  if (would == "in-doubt")
    return "in-doubt: it may have happened, and is not sent again on a guess";
  return would + ": it would be refused";
}

void print_rows(const Json& explained) {
  std::vector<Row> rows;
  const auto text = [&](const char* field) {
    const auto& value = explained[field];
    return value.is_null() ? std::string() : value.get<std::string>();
  };
  const auto add = [&](const char* name, const std::string& value, const char* otherwise) {
    rows.push_back({{name, Style::dim},
                    {value.empty() ? otherwise : shorten(clean(value), canonical_columns),
                     value.empty() ? Style::dim : Style::plain}});
  };
  add("route", text("route"), "(none: the method's default)");
  add("policy", text("policy"), "");
  add("url", text("url"), "");
  if (!text("tunnel").empty()) add("tunnel", text("tunnel"), "");
  const auto assumed = text("assumed");
  add("body", text("body_kind") + (assumed.empty() ? "" : ", assumed " + assumed), "");
  add("canonical", text("canonical"), "(empty)");
  add("fingerprint", text("fingerprint"), "(none)");
  add("key", text("key"), "(none)");
  add("key source", text("key_source"), "(none)");
  add("would", meaning(text("would")), "");
  print(rows, shows_colour(1));
}

// The key under another store's secret: does the secret enter it?
bool depends_on_secret(const Config& config, const ExplainRequest& request, const Json& explained) {
  const auto other = open_store("memory:", false, true);
  const auto again =
      other ? ledger::explain(config, **other, request) : tl::unexpected(std::string());
  return again && (*again)["key"] != explained["key"];
}

}  // namespace

int explain(const ExplainOptions& options) {
  auto request = request_from(options);
  if (!request) return refuse(request.error(), usage);
  const auto loaded = load(options.config);
  if (!loaded) return usage;

  auto store = loaded->config.store_url == "memory:"
                   ? tl::unexpected(StoreError{})
                   : open_store(loaded->config.store_url, true, false);
  const bool ours = store.has_value();  // the proxy's own, with its secret and records
  if (!ours) store = open_store("memory:", false, true);
  if (!store) return refuse(store.error().message);

  const auto explained = ledger::explain(loaded->config, **store, *request);
  if (!explained) return refuse(explained.error());
  if (options.json)
    print_json(*explained);
  else
    print_rows(*explained);
  if (!ours && depends_on_secret(loaded->config, *request, *explained))
    refuse("note: the store " + loaded->config.store_url +
           " cannot be seen from here, and credentials enter a key under its secret: fingerprint "
           "and key will differ in the proxy");
  return fine;
}

}  // namespace ledger::cli
