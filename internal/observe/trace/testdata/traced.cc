// What the tests trace: each verb is one behaviour.
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace traced {

__attribute__((noinline)) int factorial(int n) { return n < 2 ? 1 : n * factorial(n - 1); }

// Each call throws through the frames below it.
__attribute__((noinline)) int throws(int depth) {
  if (depth == 0) throw std::runtime_error("here");
  return throws(depth - 1) + 1;
}
static jmp_buf back;
__attribute__((noinline)) int jumps(int depth) {
  if (depth == 0) longjmp(back, 1);
  return jumps(depth - 1) + 1;
}

// A virtual base has the compiler make two constructors.
struct Base {
  int n = 1;
  virtual ~Base() = default;
};
struct Built : virtual Base {
  __attribute__((noinline)) Built() { n = 2; }
};
struct Further : Built {
  __attribute__((noinline)) Further() { n = 3; }
};

extern "C" int chosen_one(int n) { return n + 1; }
extern "C" int (*choose())(int) { return chosen_one; }
extern "C" int chosen(int) __attribute__((ifunc("choose")));

volatile sig_atomic_t caught = 0;

__attribute__((noinline)) void named(int n) { __asm__ volatile("" : : "r"(n) : "memory"); }

}  // namespace traced

using namespace traced;

int main(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "";
  if (verb == "factorial") return factorial(5);
  if (verb == "throws") {
    for (int i = 0; i < 3; i++) {
      try {
        throws(4);
      } catch (const std::runtime_error&) {
      }
    }
    return factorial(3);
  }
  if (verb == "jumps") {
    for (volatile int i = 0; i < 3; i++) {
      if (!setjmp(back)) jumps(4);
    }
    return factorial(3);
  }
  if (verb == "builds") return Further().n + Built().n;
  if (verb == "chosen") return chosen(6);
  if (verb == "sockets") {
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in6 a = {};
    a.sin6_family = AF_INET6;
    a.sin6_addr = in6addr_loopback;
    int status = bind(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) || listen(fd, 7);
    status |= bind(999, reinterpret_cast<sockaddr*>(&a), sizeof a) != -1;
    return status;
  }
  if (verb == "threads") {
    std::vector<std::thread> all;
    for (int i = 0; i < 4; i++) {
      all.emplace_back([i] {
        pthread_setname_np(pthread_self(), ("wrk:worker_" + std::to_string(i)).c_str());
        for (int j = 0; j < 25; j++) named(i);
      });
    }
    for (auto& t : all) t.join();
    return 0;
  }
  if (verb == "waits") {  // others wait for events while one is at work: they must not be sent round
    int fd = epoll_create1(0), woken = 0;
    std::thread waiter([&] {
      epoll_event e;
      while (epoll_wait(fd, &e, 1, 600000) < 0) woken++;
    });
    usleep(100000);
    for (int i = 0; i < 50; i++) named(i);
    int pipes[2];
    epoll_event e = {};
    e.events = EPOLLIN;
    if (pipe(pipes) || epoll_ctl(fd, EPOLL_CTL_ADD, pipes[0], &e) || write(pipes[1], "x", 1) != 1) return 100;
    waiter.join();
    return woken;
  }
  if (verb == "signals") {  // each signal is let in by the wait alone, and ends it
    struct sigaction action = {};
    action.sa_handler = [](int) { caught = 1; };
    sigaction(SIGUSR1, &action, nullptr);
    sigset_t blocked, open;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &blocked, &open);
    const int many = atoi(argv[2]), fd = epoll_create1(0);
    std::atomic<int> woken = 0;
    std::thread worker([&] {
      while (woken < many) {
        named(1);
        usleep(300);
      }
    });
    std::thread sender([&, waiter = pthread_self()] {
      for (int i = 0; i < many; i++) {
        pthread_kill(waiter, SIGUSR1);
        while (woken <= i) usleep(20);
      }
    });
    for (epoll_event e; woken < many;) {
      epoll_pwait(fd, &e, 1, -1, &open);
      if (caught) caught = 0, woken++;
    }
    sender.join();
    worker.join();
    return 0;
  }
  if (verb == "times") {  // a timeout comes, however often others stop meanwhile
    int fd = epoll_create1(0);
    std::atomic<int> status = -1;
    std::thread waiter([&] {
      epoll_event e;
      status = epoll_wait(fd, &e, 1, 200);
    });
    while (status < 0) {
      named(1);
      usleep(1000);
    }
    waiter.join();
    return status;
  }
  if (verb == "opens") {  // a library that comes later
    void* l = dlopen(argv[2], RTLD_NOW);
    if (!l) return 1;
    return reinterpret_cast<int (*)(int)>(dlsym(l, "late"))(4);
  }
  if (verb == "execs") {
    execv("/proc/self/exe", argv + 1);
    return 1;
  }
  if (verb == "kills") raise(SIGTERM);
  if (verb == "stays") {
    std::puts("ready");
    std::fflush(stdout);
    for (;;) {
      named(1);
      usleep(1000);
    }
  }
  return 0;
}
