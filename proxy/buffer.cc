#include "proxy/buffer.h"

#include <cstring>
#include <utility>
#include <vector>

namespace ledger {
namespace {

constexpr std::size_t block_size = 65'536;
constexpr std::size_t room_min = 8'192;     // what a head usually fits in
constexpr std::size_t record_max = 16'384;  // RFC 8446 section 5.1
constexpr std::size_t parked_max = 8'192;   // more is not copied for a wait
#ifdef __SANITIZE_ADDRESS__
constexpr std::size_t spare_max = 0;  // a use after the giving back shows
#else
constexpr std::size_t spare_max = 16;
#endif

using Memory = std::unique_ptr<char[]>;
thread_local std::vector<Memory> spare_blocks;

// Nobody needs zeros where bytes are read to.
Memory memory(std::size_t size) { return std::make_unique_for_overwrite<char[]>(size); }

Memory block() {
  if (spare_blocks.empty()) return memory(block_size);
  auto last = std::move(spare_blocks.back());
  spare_blocks.pop_back();
  return last;
}

}  // namespace

boost::asio::mutable_buffer Buffer::room() {
  const auto needed = end_ - begin_ + room_min;
  if (needed > capacity_)
    needed <= block_size ? move_to(block(), block_size) : move_to(memory(2 * needed), 2 * needed);
  return free_space(room_min);
}

boost::asio::mutable_buffer Buffer::waiting_room() {
  const auto needed = end_ - begin_ + record_max;
  if (needed > capacity_ || capacity_ == block_size) move_to(memory(needed), needed);
  return free_space(record_max);
}

// Behind what is there, which moves to the front where that leaves too little.
boost::asio::mutable_buffer Buffer::free_space(std::size_t least) {
  const auto used = end_ - begin_;
  if (used == 0 || capacity_ - end_ < least) {
    std::memmove(data_.get(), data_.get() + begin_, used);
    begin_ = 0;
    end_ = used;
  }
  return {data_.get() + end_, capacity_ - end_};
}

void Buffer::park() {
  const auto used = end_ - begin_;
  if (used == 0)
    give_back();
  else if (capacity_ == block_size && used <= parked_max)
    move_to(memory(used), used);
}

void Buffer::move_to(Memory data, std::size_t capacity) {
  const auto used = end_ - begin_;
  if (used > 0) std::memcpy(data.get(), data_.get() + begin_, used);
  give_back();
  data_ = std::move(data);
  capacity_ = capacity;
  end_ = used;
}

void Buffer::give_back() {
  if (capacity_ == block_size && spare_blocks.size() < spare_max)
    spare_blocks.push_back(std::move(data_));
  data_.reset();
  capacity_ = begin_ = end_ = 0;
}

}  // namespace ledger
