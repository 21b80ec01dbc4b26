// prepare BLOCKED IGNORED NOFILE PROGRAM ARG...: executes PROGRAM with these signals
// blocked and ignored (hexadecimal, bit n-1 is signal n) and this soft RLIMIT_NOFILE.
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char** argv) {
  unsigned long long blocked = strtoull(argv[1], NULL, 16), ignored = strtoull(argv[2], NULL, 16);
  struct { void (*handler)(int); unsigned long flags; void* restorer; unsigned long mask; } act = {0};
  struct rlimit files;

  // Raw: the library's own calls refuse signals 32 and 33.
  for (int sig = 1; sig <= 64; sig++) {
    act.handler = ignored >> (sig - 1) & 1 ? SIG_IGN : SIG_DFL;
    syscall(SYS_rt_sigaction, sig, &act, NULL, 8);
  }
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &blocked, NULL, 8);
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = strtoull(argv[3], NULL, 16);
  setrlimit(RLIMIT_NOFILE, &files);
  execv(argv[4], argv + 4);
  return 125;
}
