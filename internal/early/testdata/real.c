// The real program of the tests: it tells on descriptor 3 what it was given, as words
// that end in NUL: real, state, AT_EXECFN, argc, argv..., envp...
// State is what the kernel says, in hexadecimal: blocked and ignored signals (bit n-1
// is signal n), which of 0, 1, 2 are closed (bit n), the soft RLIMIT_NOFILE.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static void word(const char* s) { (void)!write(3, s, strlen(s) + 1); }

int main(int argc, char** argv, char** envp) {
  unsigned long long blocked = 0, ignored = 0;
  unsigned closed = 0;
  struct { void (*handler)(int); unsigned long flags; void* restorer; unsigned long mask; } act;
  struct rlimit files;
  char text[100];

  syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &blocked, 8);
  for (int sig = 1; sig <= 64; sig++) {
    syscall(SYS_rt_sigaction, sig, NULL, &act, 8);
    if (act.handler == SIG_IGN) ignored |= 1ull << (sig - 1);
  }
  for (int fd = 0; fd < 3; fd++)
    if (fcntl(fd, F_GETFD) < 0) closed |= 1u << fd;
  getrlimit(RLIMIT_NOFILE, &files);

  word("real");
  snprintf(text, sizeof text, "%llx %llx %x %llx", blocked, ignored, closed, (unsigned long long)files.rlim_cur);
  word(text);
  word((char*)getauxval(AT_EXECFN));
  snprintf(text, sizeof text, "%d", argc);
  word(text);
  for (; *argv; argv++) word(*argv);
  for (; *envp; envp++) word(*envp);
}
