#include "proxy/http_exchange.h"

#include "guard/crash_point.h"

namespace ledger {

std::string describe(ReadError error, const MessageReader& reader) {
  switch (error) {
    case ReadError::none:
      return "";
    case ReadError::closed:
      return "the destination closed the connection without an answer";
    case ReadError::truncated:
      return "the destination's answer broke off";
    case ReadError::timed_out:
      return "the destination did not answer in time";
    case ReadError::head_too_large:
      return "the destination's answer has too large a header";
    case ReadError::malformed:
    case ReadError::not_implemented:
      return "the destination's answer is malformed: " + reader.detail();
  }
  return "the destination's answer could not be read";
}

HttpExchange::~HttpExchange() {
  if (!connection_ || !sent_ || !whole_) return;  // closes
  if (connection_->reader.head().keep_alive && !connection_->reader.has_buffered())
    pool_.release(std::move(connection_));
}

Awaitable<Exchange::Connected> HttpExchange::connect(SteadyClock::time_point deadline) {
  connection_.reset();
  sent_ = whole_ = false;
  const UpstreamAddress to{request_.url, request_.insecure, request_.configured};
  auto connection = co_await pool_.acquire(to, UpstreamPool::Freshness::guarded, deadline);
  if (!connection) {
    auto& error = connection.error();
    co_return Connected{std::move(error.why), error.lasting, error.reason};
  }
  connection_ = std::move(*connection);
  connection_->bound_to_caller = request_.binds;
  co_return Connected{};
}

Awaitable<Exchange::Started> HttpExchange::start() {
  const std::array<asio::const_buffer, 2> parts{
      asio::buffer(request_.head),
      request_.body ? asio::buffer(*request_.body) : asio::const_buffer()};
  const auto written = co_await connection_->stream.write(parts);
  sent_ = !written.error;
  crash_point("sent");

  // Even a destination that stopped reading may have answered; that answer is the truth.
  auto& reader = connection_->reader;
  ReadError error = ReadError::none;
  do {
    error = co_await reader.read_head(request_.to_head);
  } while (error == ReadError::none && reader.head().status / 100 == 1 &&
           reader.head().status != 101);
  if (error == ReadError::none && reader.head().status == 101)
    co_return Started{"the destination switched protocols unasked", {}};
  if (error != ReadError::none) {
    if (written.error && error != ReadError::malformed)
      co_return Started{
          "the connection failed while the request was sent: " + written.error.message(), {}};
    co_return Started{describe(error, reader), {}};
  }
  whole_ = reader.body_done();
  co_return Started{"", answer_head(reader.head())};
}

Awaitable<Exchange::More> HttpExchange::read(std::string& out) {
  auto& reader = connection_->reader;
  if (!reader.body_done()) {
    const auto error = co_await reader.read_body(out);
    if (error != ReadError::none) co_return More{describe(error, reader), false};
  }
  whole_ = reader.body_done();
  co_return More{"", whole_};
}

bool HttpExchange::ready() const { return connection_->reader.body_ready(); }

}  // namespace ledger
