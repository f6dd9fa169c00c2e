// Several processes on one store: killed ones, and ones that make it at the same moment. A child is
// this binary again, running one of the skipped cases at the end.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/sqlite.h"
#include "tests/store_support.h"

extern char** environ;

namespace ledger::test {
namespace {

constexpr int commands_fd = 3, words_fd = 4;  // of a child

class Child {
 public:
  Child(const char* test_case, const std::string& store) {
    int commands[2], words[2];
    REQUIRE(pipe2(commands, O_CLOEXEC) == 0);
    REQUIRE(pipe2(words, O_CLOEXEC) == 0);
    // Away from the numbers that the child gets.
    const int child_reads = fcntl(commands[0], F_DUPFD_CLOEXEC, 10);
    const int child_writes = fcntl(words[1], F_DUPFD_CLOEXEC, 10);
    const std::string filter = std::string("--test-case=") + test_case;
    const char* const arguments[] = {"/proc/self/exe", "--no-skip", filter.c_str(), nullptr};
    setenv("LEDGER_TEST_STORE", store.c_str(), 1);
    pid_ = fork();
    if (pid_ == 0) {
      // The parent has threads: nothing but system calls until exec.
      dup2(child_reads, commands_fd);
      dup2(child_writes, words_fd);
      const int nothing = open("/dev/null", O_WRONLY);
      dup2(nothing, STDOUT_FILENO);
      execve(arguments[0], const_cast<char* const*>(arguments), environ);
      _exit(127);
    }
    REQUIRE(pid_ > 0);
    for (int fd : {commands[0], words[1], child_reads, child_writes}) close(fd);
    commands_ = commands[1];
    words_ = words[0];
  }
  ~Child() {
    kill();
    close(commands_);
    close(words_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  void go() { REQUIRE(write(commands_, "!", 1) == 1); }
  // `size` bytes of what the child said; fewer when it has ended.
  std::string hear(std::size_t size) {
    std::string heard;
    char bytes[64];
    while (heard.size() < size) {
      const auto got = read(words_, bytes, std::min(sizeof bytes, size - heard.size()));
      if (got <= 0) break;
      heard.append(bytes, static_cast<std::size_t>(got));
    }
    return heard;
  }

 private:
  pid_t pid_ = 0;
  int commands_ = -1, words_ = -1;
};

std::unique_ptr<Store> open(const std::string& path, bool create = false) {
  auto store = open_store(path, true, create);
  REQUIRE_MESSAGE(store, store.error().message);
  return std::move(*store);
}

// --- in a child
std::string given_store() {
  const char* path = getenv("LEDGER_TEST_STORE");
  return path ? path : "";
}
void say(const std::string& words) {
  REQUIRE(write(words_fd, words.data(), words.size()) == static_cast<ssize_t>(words.size()));
}
void wait_for_go() {
  char byte;
  (void)!read(commands_fd, &byte, 1);
}

TEST_CASE("a killed process's claim is there, and its owner is dead at once") {
  TempFolder folder;
  auto store = open(folder.file(), true);
  Child child("child: claims and waits", folder.file());
  REQUIRE(child.hear(5) == "ready");
  auto found = load_now(*store, id_of(1));
  REQUIRE((found && found->record));
  CHECK(found->owner_alive);
  CHECK(store->orphans(10)->empty());

  child.kill();
  found = load_now(*store, id_of(1));
  REQUIRE((found && found->record));
  CHECK(found->record->state == State::in_flight);
  CHECK(!found->owner_alive);  // its lease stands for seconds yet
  const auto conflict = replace_now(*store, claim(id_of(1), store->now()));
  CHECK(!conflict->swapped);
  CHECK(!conflict->found.owner_alive);
  CHECK(store->orphans(10)->size() == 1);

  store.reset();
  store = open(folder.file());
  CHECK(load_now(*store, id_of(1))->record->version == found->record->version);
}

TEST_CASE("whatever was acknowledged before a kill -9 is there after it") {
  TempFolder folder;
  Child child("child: claims until killed", folder.file());
  auto heard = child.hear(300 * sizeof(std::uint64_t));
  CHECK(heard.size() == 300 * sizeof(std::uint64_t));
  child.kill();
  heard += child.hear(std::size_t{1} << 30);
  const auto acknowledged = heard.size() / sizeof(std::uint64_t);
  auto store = open(folder.file());
  std::size_t missing = 0;
  for (std::size_t i = 0; i < acknowledged; ++i) {
    std::uint64_t number = 0;
    std::copy_n(heard.data() + i * sizeof number, sizeof number, reinterpret_cast<char*>(&number));
    if (!load_now(*store, id_of(number))->record) ++missing;
  }
  CHECK(missing == 0);
}

TEST_CASE("processes that make the store at the same moment agree on its secret") {
  for (int round = 0; round < 5; ++round) {
    TempFolder folder;
    std::vector<std::unique_ptr<Child>> children;
    children.reserve(4);
    for (int i = 0; i < 4; ++i)
      children.push_back(std::make_unique<Child>("child: makes the store", folder.file()));
    for (auto& child : children) REQUIRE(child->hear(5) == "ready");
    for (auto& child : children) child->go();
    const auto secret = children[0]->hear(32);
    CHECK(secret.size() == 32);
    for (std::size_t i = 1; i < children.size(); ++i) CHECK(children[i]->hear(32) == secret);
    for (auto& child : children) child->kill();
    CHECK(open(folder.file())->secret() == secret);
  }
}

TEST_CASE("a look from outside works beside a running proxy and leaves it alone") {
  TempFolder folder;
  Child child("child: claims and waits", folder.file());
  REQUIRE(child.hear(5) == "ready");
  for (int i = 0; i < 3; ++i) {
    auto store = open(folder.file());
    const auto page = store->scan({});
    REQUIRE(page);
    CHECK(page->records.size() == 1);
    CHECK(store->stats()->size() == 1);
  }
  auto store = open(folder.file());
  CHECK(load_now(*store, id_of(1))->owner_alive);
}

// --- children ----------------------------------------------------------------------------------

TEST_CASE("child: claims and waits" * doctest::skip()) {
  auto store = open(given_store(), true);
  const auto instance = store->join_instance();
  REQUIRE(instance);
  swapped(replace_now(*store, claim(id_of(1), store->now(), *instance)));
  say("ready");
  wait_for_go();
}

TEST_CASE("child: claims until killed" * doctest::skip()) {
  auto store = open(given_store(), true);
  std::atomic<std::uint64_t> next{0};
  std::function<void()> more = [&] {
    const std::uint64_t number = next++;
    store->replace(claim(id_of(number), store->now()), [&, number](ReplaceResult result) {
      if (!result || !result->swapped) return;
      say(std::string(reinterpret_cast<const char*>(&number), sizeof number));
      more();
    });
  };
  for (int i = 0; i < 8; ++i) more();
  wait_for_go();
}

TEST_CASE("child: makes the store" * doctest::skip()) {
  say("ready");
  wait_for_go();
  auto store = open_store(given_store(), true, true);
  say(store ? (*store)->secret() : store.error().message);
  wait_for_go();
}

}  // namespace
}  // namespace ledger::test
