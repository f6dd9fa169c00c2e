// Bytes read and not used yet.
#pragma once

#include <boost/asio/buffer.hpp>
#include <cstddef>
#include <memory>
#include <string_view>

namespace ledger {

// Reads go into blocks that a thread's connections share: whoever waits has given its block back,
// and the one given back last, which is still in the cache, is taken first. So an idle connection
// holds no memory, and one that waits for the rest of something holds that something. TLS alone
// waits with memory in its hands.
class Buffer {
 public:
  Buffer() = default;
  ~Buffer() { give_back(); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::string_view rest() const { return {data_.get() + begin_, end_ - begin_}; }
  bool empty() const { return begin_ == end_; }
  // The bytes stay where they are until park() or a room is asked for.
  void consume(std::size_t n) { begin_ += n; }

  // Where to read more to; `filled` says how many came.
  boost::asio::mutable_buffer room();
  // The same for a read that keeps its room while it waits: memory of its own, of one TLS record.
  boost::asio::mutable_buffer waiting_room();
  void filled(std::size_t n) { end_ += n; }
  // Before a wait: gives back what is not needed.
  void park();

 private:
  void move_to(std::unique_ptr<char[]> data, std::size_t capacity);
  void give_back();
  boost::asio::mutable_buffer free_space(std::size_t least);

  std::unique_ptr<char[]> data_;
  std::size_t capacity_ = 0, begin_ = 0, end_ = 0;
};

}  // namespace ledger
