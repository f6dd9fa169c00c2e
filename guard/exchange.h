// One sending of one request to its destination: what an execution needs from the network.
// proxy/http_exchange.h implements it over HTTP; a scripted one drives tests.
#pragma once

#include <memory>
#include <string>

#include "guard/async.h"
#include "guard/problem.h"
#include "store/record.h"

namespace ledger {

// A response's head, as an execution hands it on.
struct AnswerHead {
  int status = 0;
  std::string reason;
  Headers headers;        // end-to-end; no Content-Length, unless it stands without a body
  bool bodyless = false;  // to HEAD, 204, 304
  std::optional<std::uint64_t> length;  // of the body, where the upstream said it
};

class Exchange {
 public:
  virtual ~Exchange() = default;

  // Reaches the destination without sending a byte. Called again, it begins anew on another
  // connection: the same request is then sent once more.
  struct Connected {
    std::string error;     // why not, for a person; empty: ready
    bool lasting = false;  // another try would end in the same way (a certificate is refused)
    NotReached reason = NotReached::failed;
  };
  virtual Awaitable<Connected> connect(SteadyClock::time_point deadline) = 0;

  // Sends the whole request and reads the head of the final answer (1xx are skipped). Once this
  // was called, bytes may have left. An empty `error` means that `head` is there.
  struct Started {
    std::string error;
    AnswerHead head;
  };
  virtual Awaitable<Started> start() = 0;

  // Appends more of the body to `out`. `done`: that was all of it, and it was whole.
  struct More {
    std::string error;
    bool done = false;
  };
  virtual Awaitable<More> read(std::string& out) = 0;
  // Would read() find something without waiting for the network?
  virtual bool ready() const = 0;

  // From now on operations fail once `when` has passed.
  virtual void expires_at(SteadyClock::time_point when) = 0;
};

}  // namespace ledger
