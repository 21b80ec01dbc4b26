// A stand-in for Envoy with symbols and debug information, which the release Envoy
// lacks. It may do only what Envoy does: take Envoy's flags, run static initialisers,
// start worker threads and an event loop on libevent, answer on the admin port, and end on
// SIGTERM, SIGINT or /quitquitquit.
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/thread.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace Envoy {

// Envoy registers its factories in static initialisers.
std::map<std::string, int>& registry() {
  static std::map<std::string, int> factories;
  return factories;
}
struct RegisterFactory {
  explicit RegisterFactory(const char* name) { registry()[name] = 1; }
} register_http("envoy.filters.network.http_connection_manager"),
    register_tcp("envoy.filters.network.tcp_proxy");

namespace Api {
class OsSysCallsImpl {
public:
  int socket(int domain, int type, int protocol) { return ::socket(domain, type, protocol); }
  int bind(int fd, const sockaddr* addr, socklen_t len) { return ::bind(fd, addr, len); }
  int listen(int fd, int backlog) { return ::listen(fd, backlog); }
};
}  // namespace Api

struct Options {
  std::string config_path, config_yaml, log_level = "info", mode = "serve", admin_address_path;
  int concurrency = 2;
  bool version = false, hot_restart_version = false, help = false;
};

[[noreturn]] void usageError(const std::string& what) {
  std::fprintf(stderr, "error initializing configuration: %s\n", what.c_str());
  std::exit(1);
}

// Envoy's parser (TCLAP) refuses what it does not know and what is given twice.
Options parse(int argc, char** argv) {
  static const std::set<std::string> with_value = {
      "-c", "--config-path", "--config-yaml", "-l", "--log-level", "--component-log-level",
      "--log-format", "--drain-time-s", "--drain-strategy", "--local-address-ip-version",
      "--file-flush-interval-msec", "--concurrency", "--service-node", "--service-cluster",
      "--parent-shutdown-time-s", "--mode", "--base-id", "--admin-address-path"};
  static const std::set<std::string> flags = {
      "--disable-hot-restart", "--allow-unknown-static-fields", "--skip-deprecated-logs",
      "--enable-fine-grain-logging", "--version", "--hot-restart-version", "--help"};
  Options o;
  std::set<std::string> seen;
  for (int i = 1; i < argc; i++) {
    std::string name = argv[i], value;
    if (with_value.count(name)) {
      if (++i == argc) usageError("missing value for " + name);
      value = argv[i];
    } else if (!flags.count(name)) {
      usageError("Couldn't find match for argument: " + name);
    }
    if (!seen.insert(name).second) usageError("Argument already set: " + name);
    if (name == "-c" || name == "--config-path") o.config_path = value;
    if (name == "--config-yaml") o.config_yaml = value;
    if (name == "-l" || name == "--log-level") o.log_level = value;
    if (name == "--concurrency") o.concurrency = std::atoi(value.c_str());
    if (name == "--mode") o.mode = value;
    if (name == "--admin-address-path") o.admin_address_path = value;
    if (name == "--version") o.version = true;
    if (name == "--hot-restart-version") o.hot_restart_version = true;
    if (name == "--help") o.help = true;
  }
  return o;
}

void log(const char* level, const std::string& text) {
  char stamp[32];
  std::time_t t = std::time(nullptr);
  std::strftime(stamp, sizeof stamp, "%F %T", std::gmtime(&t));
  std::fprintf(stderr, "[%s.000][%d][%s][main] %s\n", stamp, getpid(), level, text.c_str());
}

// The admin port of the bootstrap: the first port_value after "admin".
int adminPort(const Options& o) {
  std::stringstream text;
  if (!o.config_path.empty()) {
    std::ifstream in(o.config_path);
    if (!in) usageError("unable to read file: " + o.config_path);
    text << in.rdbuf();
  }
  text << o.config_yaml;
  std::smatch m;
  std::string s = text.str();
  static const std::regex port("admin[^]*?port_value\"?\\s*:\\s*\"?([0-9]+)");
  return std::regex_search(s, m, port) ? std::stoi(m[1]) : 15000;
}

class Server {
public:
  explicit Server(const Options& o) : options_(o) {}

  int run() {
    evthread_use_pthreads();
    base_ = event_base_new();  // epoll_create1
    log("info", "initializing epoch 0 (base id=0, hot restart version=11.104)");
    if (!openAdmin()) return 1;
    for (int i = 0; i < options_.concurrency; i++) {
      workers_.emplace_back(worker);
      pthread_setname_np(workers_.back().native_handle(), ("wrk:worker_" + std::to_string(i)).c_str());
    }
    event* term = evsignal_new(base_, SIGTERM, &Server::onSignal, this);
    event* intr = evsignal_new(base_, SIGINT, &Server::onSignal, this);
    event_add(term, nullptr);
    event_add(intr, nullptr);
    log("info", "starting main dispatch loop");
    live_ = true;
    event_base_dispatch(base_);
    log("info", "exiting");
    for (auto& w : workers_) w.detach();  // they end with the process
    return 0;
  }

private:
  static void onSignal(evutil_socket_t sig, short, void* self) {
    log("warning", std::string("caught ENVOY_SIG") + (sig == SIGTERM ? "TERM" : "INT"));
    event_base_loopexit(static_cast<Server*>(self)->base_, nullptr);
  }

  static void worker() {
    event_base* b = event_base_new();
    event* idle = event_new(b, -1, EV_PERSIST, [](evutil_socket_t, short, void*) {}, nullptr);
    timeval hour = {3600, 0};
    event_add(idle, &hour);
    event_base_dispatch(b);
  }

  bool openAdmin() {
    Api::OsSysCallsImpl os;
    int fd = os.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in addr = {};
    addr.sin_family = AF_INET;
    addr.sin_port = htons(adminPort(options_));
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (os.bind(fd, reinterpret_cast<sockaddr*>(&addr), sizeof addr) || os.listen(fd, 128)) {
      log("critical", "cannot bind the admin address: Address already in use");
      return false;
    }
    socklen_t len = sizeof addr;
    getsockname(fd, reinterpret_cast<sockaddr*>(&addr), &len);
    if (!options_.admin_address_path.empty()) {
      std::ofstream(options_.admin_address_path) << "127.0.0.1:" << ntohs(addr.sin_port);
    }
    log("info", "admin address: 127.0.0.1:" + std::to_string(ntohs(addr.sin_port)));
    evhttp* http = evhttp_new(base_);
    evhttp_accept_socket(http, fd);
    evhttp_set_gencb(http, &Server::onRequest, this);
    return true;
  }

  static void onRequest(evhttp_request* req, void* self) { static_cast<Server*>(self)->answer(req); }

  void answer(evhttp_request* req) {
    const std::string path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(req));
    const bool post = evhttp_request_get_command(req) == EVHTTP_REQ_POST;
    std::string body;
    int code = 200;
    if (path == "/server_info") {
      body = std::string("{\"version\":\"standin\",\"state\":\"") + (live_ ? "LIVE" : "INITIALIZING") +
             "\",\"command_line_options\":{\"log_level\":\"" + options_.log_level + "\"}}\n";
    } else if (path == "/ready") {
      body = live_ ? "LIVE\n" : "INITIALIZING\n";
      code = live_ ? 200 : 503;
    } else if (path.rfind("/stats", 0) == 0) {
      body = "server.live: 1\nserver.concurrency: " + std::to_string(options_.concurrency) + "\n";
    } else if (path == "/drain_listeners" || path == "/quitquitquit") {
      if (!post) {
        code = 405;
        body = "Method Not Allowed\n";
      } else {
        body = "OK\n";
        if (path == "/quitquitquit") {  // once the answer is out
          evhttp_request_set_on_complete_cb(
              req, [](evhttp_request*, void* base) { event_base_loopexit(static_cast<event_base*>(base), nullptr); },
              base_);
        }
      }
    } else {
      code = 404;
      body = "invalid path\n";
    }
    evbuffer* out = evbuffer_new();
    evbuffer_add(out, body.data(), body.size());
    evhttp_send_reply(req, code, "", out);
    evbuffer_free(out);
  }

  Options options_;
  event_base* base_ = nullptr;
  std::vector<std::thread> workers_;
  bool live_ = false;
};

class MainCommon {
public:
  static int main(int argc, char** argv) {
    Options o = parse(argc, argv);
    if (o.version) {
      std::printf("envoy  version: standin/1.0.0/Clean/DEBUG/none\n");
      return 0;
    }
    if (o.hot_restart_version) {
      std::printf("11.104\n");
      return 0;
    }
    if (o.help) {
      std::printf("USAGE: envoy\n");
      return 0;
    }
    if (o.mode == "validate") {
      std::printf("configuration '%s' OK\n", o.config_path.c_str());
      return 0;
    }
    return Server(o).run();
  }
};

}  // namespace Envoy

int main(int argc, char** argv) {
  const int status = Envoy::MainCommon::main(argc, argv);
  std::fflush(nullptr);
  _exit(status);  // the workers still run
}
