// An execution's exchange over HTTP/1.1: one request on a fresh enough connection, one answer.
#pragma once

#include <memory>
#include <string>

#include "guard/exchange.h"
#include "proxy/forwarding.h"
#include "proxy/upstream.h"

namespace ledger {

// What is sent: the whole head, and the body it frames.
struct OutgoingRequest {
  Url url;
  bool insecure = false, configured = false;  // see UpstreamAddress
  std::string head;
  std::shared_ptr<const std::string> body;
  bool binds = false;    // see Head::binds_connection
  bool to_head = false;  // a HEAD request: its answer has no body
};

class HttpExchange : public Exchange {
 public:
  HttpExchange(UpstreamPool& pool, OutgoingRequest request)
      : pool_(pool), request_(std::move(request)) {}
  ~HttpExchange() override;

  Awaitable<Connected> connect(SteadyClock::time_point deadline) override;
  Awaitable<Started> start() override;
  Awaitable<More> read(std::string& out) override;
  bool ready() const override;
  void expires_at(SteadyClock::time_point when) override { connection_->stream.expires_at(when); }

 private:
  UpstreamPool& pool_;
  OutgoingRequest request_;
  UpstreamConnectionPtr connection_;
  bool sent_ = false;   // the whole request went out
  bool whole_ = false;  // the whole answer came in
};

// "the connection was reset before the answer was whole", for a person.
std::string describe(ReadError error, const MessageReader& reader);

}  // namespace ledger
