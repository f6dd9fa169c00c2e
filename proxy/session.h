// One client connection: reads calls one after the other and takes each through the pipeline.
//
// Threads: everything on the worker's io_context. Owned by its own coroutine (see start()).
#pragma once

#include <memory>
#include <string>

#include "fingerprint/inflate.h"
#include "guard/problem.h"
#include "proxy/first_bytes.h"
#include "proxy/forwarding.h"
#include "proxy/interception.h"
#include "proxy/message.h"
#include "proxy/proxy.h"
#include "proxy/stream.h"
#include "proxy/target.h"

namespace ledger {

// Where a request line and a Host lead, on one connection: a call that says the same as the one
// before goes the same way, and nothing is parsed and matched again.
struct Destination {
  std::string method, named_method, asked, host;  // what the call said
  Target target;
  std::string origin{};  // its connections in the pool
  Matched matched{};
  const Policy* policy = nullptr;  // until a call was let through and matched

  bool is_of(const Head& head) const {
    return head.target == asked && head.method == method && head.host == host &&
           head.method_override == named_method;
  }
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(Proxy& proxy, Worker& worker, Socket socket, const Listener& listener,
          std::string client_address, Peers::Place place);
  ~Session();

  // Runs until the client or we end the connection.
  static void start(std::shared_ptr<Session> session);

 private:
  static constexpr std::size_t piece_max = 64 * 1024;  // of an answer, in one write
  enum class Then : bool { close, next };  // what becomes of the connection after a call

  Awaitable<> run();
  void slim();

  // --- pipeline.cc: read -> match -> identify -> claim -> forward -> settle -> reply ----------
  struct CallState;
  struct GuardedBody;
  Awaitable<Then> call();
  std::optional<Problem> match(CallState& call);
  Awaitable<Then> guarded_call(CallState& call);
  Awaitable<Admission> admit(const CallState& call, const GuardedCall& guarded,
                             std::shared_ptr<GuardedBody> body);
  Awaitable<Probed> probe(const CallState& call, const Record& record);
  Awaitable<std::optional<Problem>> read_body(const CallState& call, GuardedBody& body);
  Awaitable<std::optional<Problem>> make_room(const CallState& call, GuardedBody& body,
                                              std::size_t bytes);

  // --- replies.cc: how each kind of answer is written ------------------------------------------
  Awaitable<Then> give_problem(const CallState& call, const Problem& problem,
                               std::uint64_t attempt = 0);
  Awaitable<Then> give_long_again(const CallState& call, Given given, const Digest& id);
  Awaitable<Then> give_answer(const CallState& call, const Answer& answer, CallStatus status,
                              std::uint64_t attempt);
  Awaitable<Then> give_execution(const CallState& call, Led led);
  Awaitable<Then> stream_execution(const CallState& call, Execution& execution,
                                   std::uint64_t attempt);
  Awaitable<bool> send(std::string_view head, std::string_view body = {});
  bool send_now(std::string_view& head, std::string_view& body);
  Awaitable<bool> give_decoded(Inflater& inflater, std::string& piece, bool chunked);
  Awaitable<> linger();

  // --- pass.cc: streamed both ways, never buffered ---------------------------------------------
  Awaitable<Then> pass(const CallState& call, std::string_view body);
  UpstreamConnectionPtr take_upstream(const CallState& call, UpstreamPool::Freshness freshness);
  void give_upstream_back(const CallState& call, UpstreamConnectionPtr upstream);
  SteadyClock::time_point passing_deadline() const;
  Awaitable<Then> exchange_passing(const CallState& call, UpstreamConnection& upstream,
                                   std::string_view body_read, bool& retry);
  Awaitable<Then> exchange_streaming(const CallState& call, UpstreamConnection& upstream);
  Awaitable<> pump_request(UpstreamConnection& upstream, bool& failed);
  Awaitable<Then> relay_response(const CallState& call, UpstreamConnection& upstream, bool& retry);
  Awaitable<Then> relay_body(UpstreamConnection& upstream);

  // --- tunnel.cc: CONNECT; opened where a route names the host, else blind -----------------------
  Awaitable<Then> connect_tunnel(const CallState& call);
  std::optional<Problem> refuse_tunnel(const CallState& call, const std::optional<Url>& to) const;
  void end_tunnel(const Url& url, FirstBytes speaks, bool opened) const;
  void count_blind(const Url& url) const;
  template <class Begun>
  Awaitable<FirstBytes> first_bytes(FirstLook& look, Begun begun);
  Awaitable<Then> blind_tunnel(Tunnel tunnel, UpstreamConnectionPtr upstream);
  Awaitable<Then> enter(Tunnel tunnel, FirstBytes speaks);
  bool opens(const std::string& host, std::uint16_t port) const;
  void log_tunnel(const std::string& authority, const std::string& what) const;
  void log_silent_end() const;

  Proxy& proxy_;
  Worker& worker_;
  const Listener& listener_;
  const std::string client_address_;
  const Peers::Place place_;
  Stream stream_;
  MessageReader reader_;
  std::optional<Tunnel> tunnel_;            // that the calls come through
  std::optional<Destination> destination_;  // of the call before, while the next one is the same
  UpstreamConnectionPtr own_upstream_;      // authenticated by this client (NTLM): its alone
  std::string out_;                         // the answer being written; its capacity is reused
  std::string request_out_;                 // likewise, a passing call's request
  std::string body_;                        // likewise, of a passing call's small body
  SteadyClock::time_point pass_until_;      // of a passing call with a `timeout`
  ReadError body_error_ = ReadError::none;  // why a passing call's body ended early
  bool unread_ = false;                     // the client may still be sending what we will not read
};

// Copies bytes both ways until both sides have ended; half-closes are passed on. Ends by itself
// where nothing moves for `idle`, and a minute after one side has ended.
Awaitable<> relay(Stream& a, Stream& b, std::string first_from_a, std::string first_from_b,
                  SteadyClock::duration idle);

}  // namespace ledger
