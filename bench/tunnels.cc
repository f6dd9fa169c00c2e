// Load over TLS, which wrk cannot send through a CONNECT tunnel: a thread a connection, a POST at a
// time.
//   tunnels --port PORT --host NAME:PORT [--connect] [--each] [--fresh] [--connections N]
//   [--seconds S]
// --connect: TLS inside a tunnel to NAME:PORT; else directly. --each: a new connection for each
// call,
// --fresh: and each to another host of the same domain. Prints "REQUESTS SECONDS"; any wrong answer
// is fatal.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

struct Options {
  int port = 0, connections = 64, seconds = 1;
  std::string host;
  bool connect = false, each = false, fresh = false;
};
Options options;
SSL_CTX* context;
std::atomic<bool> stopping;
std::atomic<long> requests, hosts;

[[noreturn]] void die(const char* what) {
  std::perror(what);
  ERR_print_errors_fp(stderr);
  std::_Exit(1);
}

// Names of this run alone: a proxy may remember those of the run before.
std::string host_of_call() {
  if (!options.fresh) return options.host;
  return "h" + std::to_string(getpid()) + "-" + std::to_string(++hosts) +
         options.host.substr(options.host.find('.'));
}

bool ok(const char* bytes, std::size_t size) {
  return size >= 12 && std::memcmp(bytes + 9, "200", 3) == 0;
}

class Client {
 public:
  explicit Client(std::string host) : host_(std::move(host)) {
    socket_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(options.port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int one = 1;
    ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (::connect(socket_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) die("connect");
    if (options.connect) open_tunnel();
    ssl_ = SSL_new(context);
    SSL_set_fd(ssl_, socket_);
    SSL_set_tlsext_host_name(ssl_, host_.substr(0, host_.find(':')).c_str());
    if (SSL_connect(ssl_) != 1) die("TLS handshake");
  }
  ~Client() {
    SSL_shutdown(ssl_);
    SSL_free(ssl_);
    ::close(socket_);
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void call() {
    const std::string body =
        R"({"amount":4900,"currency":"usd","note":")" + std::string(159, 'n') + R"("})";
    const std::string text =
        "POST /pass/v1 HTTP/1.1\r\nHost: " + host_ +
        "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
        "\r\n\r\n" + body;
    if (SSL_write(ssl_, text.data(), static_cast<int>(text.size())) <= 0) die("write");
    read_answer();
  }

 private:
  void open_tunnel() {
    const std::string text = "CONNECT " + host_ + " HTTP/1.1\r\nHost: " + host_ + "\r\n\r\n";
    if (::write(socket_, text.data(), text.size()) < 0) die("write CONNECT");
    char bytes[2048];
    const auto size = ::read(socket_, bytes, sizeof bytes);
    if (size <= 0 || !ok(bytes, static_cast<std::size_t>(size))) die("CONNECT was refused");
  }

  void read_answer() {
    std::string answer;
    std::size_t whole = 0;
    do {
      char bytes[16384];
      const int size = SSL_read(ssl_, bytes, sizeof bytes);
      if (size <= 0) die("read");
      answer.append(bytes, static_cast<std::size_t>(size));
      if (whole == 0) whole = length_of(answer);
    } while (whole == 0 || answer.size() < whole);
    if (!ok(answer.data(), answer.size())) {
      std::fprintf(stderr, "%s\n", answer.c_str());
      die("answer");
    }
  }

  // Of head and body; 0 while the head is not whole.
  static std::size_t length_of(const std::string& answer) {
    const auto end = answer.find("\r\n\r\n");
    if (end == std::string::npos) return 0;
    const char* field = ::strcasestr(answer.c_str(), "content-length:");
    if (field == nullptr) die("an answer without a length");
    return end + 4 + std::strtoul(field + 15, nullptr, 10);
  }

  std::string host_;
  int socket_ = -1;
  SSL* ssl_ = nullptr;
};

void drive() {
  while (!stopping) {
    Client client(host_of_call());
    do {
      client.call();
      ++requests;
    } while (!options.each && !stopping);
  }
}

void parse(int count, char** words) {
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    const auto value = [&]() -> const char* { return ++i < count ? words[i] : ""; };
    if (word == "--port")
      options.port = std::atoi(value());
    else if (word == "--host")
      options.host = value();
    else if (word == "--connections")
      options.connections = std::atoi(value());
    else if (word == "--seconds")
      options.seconds = std::atoi(value());
    else if (word == "--connect")
      options.connect = true;
    else if (word == "--each")
      options.each = true;
    else if (word == "--fresh")
      options.fresh = true;
    else
      die(word.c_str());
  }
}

}  // namespace

int main(int count, char** words) {
  parse(count, words);
  ::signal(SIGPIPE, SIG_IGN);
  context = SSL_CTX_new(TLS_client_method());
  const auto began = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (int i = 0; i < options.connections; ++i) threads.emplace_back(drive);
  std::this_thread::sleep_for(std::chrono::seconds(options.seconds));
  stopping = true;
  for (auto& thread : threads) thread.join();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  std::printf("%ld %.3f\n", requests.load(), took.count());
}
