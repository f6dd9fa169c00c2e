// One message's head, from its bytes to a Head: strictly, and without an allocation once the
// buffers have grown.
#pragma once

#include <string>
#include <string_view>

#include "proxy/message.h"

namespace ledger {

// Does this field, of a request or an answer, speak of a scheme that authenticates the connection?
// See Head::binds_connection.
bool binds_connection(const HeaderView& field);

class HeadParser {
 public:
  explicit HeadParser(MessageReader::Side side) : side_(side) {}

  // `text` is a whole head, its empty line included. `to_head`: a response to HEAD.
  // Gives none, malformed, head_too_large (too many fields) or not_implemented; detail() says what.
  ReadError parse(std::string_view text, bool to_head);
  // Views into this object, until the next parse() or forget().
  const Head& head() const { return head_; }
  const std::string& detail() const { return detail_; }
  // Says what is wrong with the body of the present head.
  void explain(std::string_view why) { detail_.assign(why); }
  // Says what is wrong, and forgets any half-read head.
  ReadError fail(ReadError error, std::string_view why);
  // Clears; gives memory back where a large head had taken much.
  void forget();

 private:
  template <bool isRequest>
  class Parser;

  template <bool isRequest>
  ReadError parse_fields();
  ReadError check_host();
  ReadError check_connection();
  ReadError read_override();
  ReadError read_framing(bool to_head);
  ReadError read_lengths(bool& has_length, bool& chunked);
  void read_connection();

  const MessageReader::Side side_;
  std::string text_;  // the head's own copy: its views point here
  bool whole_ = false;
  Head head_;
  std::string detail_;
};

}  // namespace ledger
