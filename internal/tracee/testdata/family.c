// A family that the tests follow: it checks all that it hears of its children, and says what is not as it ought to be.
//
//   family life N      N rounds of children of all kinds; ends with 0 if all was as it should be
//   family WAY ARG...  executes ARG... in one way, waits for it, and ends as it does:
//                      fork vfork spawn thread nonleader sibling daemon stopped
//   family signals     sends itself signals until SIGUSR1 has come, and ends with 0 if each came once
//   family threads     threads that make threads, until SIGUSR1 has come: the next one starts itself with the word "caught", as a child
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;
static int wrong;
static const char* self = "/proc/self/exe";

#define MUST(what)                                                 \
  do {                                                             \
    if (!(what)) {                                                 \
      printf("wrong: %s (line %d, errno %d)\n", #what, __LINE__, errno); \
      wrong = 1;                                                   \
    }                                                              \
  } while (0)

static volatile int seen[64], values, sum;
static void note(int sig, siginfo_t* info, void* context) {
  (void)context;
  __sync_fetch_and_add(&seen[sig], 1);
  if (info->si_code == SI_QUEUE) {
    __sync_fetch_and_add(&values, 1);
    __sync_fetch_and_add(&sum, info->si_value.sival_int);
  }
}

static int wait_for(pid_t pid, int options) {
  int status = -1;
  pid_t got;
  while ((got = waitpid(pid, &status, options)) < 0 && errno == EINTR) {
  }
  return got == pid ? status : -1;
}

static pid_t run(char* const argv[], int vforked) {
  pid_t pid = vforked ? vfork() : fork();
  if (pid == 0) {
    execv(argv[0], argv);
    _exit(127);
  }
  return pid;
}

static int exits_with(int code, int vforked) {
  char number[8];
  snprintf(number, sizeof number, "%d", code);
  char* argv[] = {(char*)self, "exit", number, NULL};
  int status = wait_for(run(argv, vforked), 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == code;
}

static void* in_a_thread(void* arg) {
  MUST(exits_with((int)(long)arg, 1));
  return NULL;
}

// Signals of all numbers end a child as they would, or come to its handler.
static void signals(int round) {
  static const int fatal[] = {SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGUSR1, SIGSEGV, SIGPIPE, SIGALRM, SIGTERM};
  int sig = fatal[round % (sizeof fatal / sizeof *fatal)];
  sigset_t one, before_it;
  sigemptyset(&one);
  sigaddset(&one, sig);
  sigprocmask(SIG_BLOCK, &one, &before_it);  // until the child does not handle it
  pid_t pid = fork();
  if (pid == 0) {
    signal(sig, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    for (;;) pause();
  }
  kill(pid, sig);
  sigprocmask(SIG_SETMASK, &before_it, NULL);
  int status = wait_for(pid, 0);
  MUST(WIFSIGNALED(status) && WTERMSIG(status) == sig);

  int before = values, was = sum;
  for (int i = 1; i <= 20; i++) {
    union sigval v = {.sival_int = i};
    MUST(sigqueue(getpid(), SIGRTMIN + i % 3, v) == 0);
  }
  MUST(values == before + 20 && sum == was + 210);
  before = seen[SIGTRAP];
  kill(getpid(), SIGTRAP);
  MUST(seen[SIGTRAP] == before + 1);
}

// A child stops and goes on, which its parent hears.
static void stops(int sig) {
  pid_t pid = fork();
  if (pid == 0) {
    signal(sig, SIG_DFL);
    setpgid(0, 0);
    raise(sig);
    _exit(21);
  }
  int status = wait_for(pid, WUNTRACED);
  if (sig != SIGSTOP && WIFEXITED(status)) return;  // an orphaned process group does not stop
  MUST(WIFSTOPPED(status) && WSTOPSIG(status) == sig);
  kill(pid, SIGCONT);
  status = wait_for(pid, WCONTINUED);
  if (WIFCONTINUED(status)) status = wait_for(pid, 0);
  MUST(WIFEXITED(status) && WEXITSTATUS(status) == 21);
}

static void life(int rounds) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);  // orphans end here, too
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = note;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(SIGTRAP, &action, NULL);
  for (int i = 0; i < 3; i++) sigaction(SIGRTMIN + i, &action, NULL);
  for (int i = 0; i < rounds; i++) {
    MUST(exits_with(i & 127, 0));
    MUST(exits_with(i & 127, 1));
    pthread_t t[3];
    for (long k = 0; k < 3; k++) MUST(!pthread_create(&t[k], NULL, in_a_thread, (void*)(k + 30)));
    for (int k = 0; k < 3; k++) pthread_join(t[k], NULL);
    signals(i);
    stops(SIGSTOP);
    pid_t orphan = fork();
    if (orphan == 0) {
      if (fork() == 0) _exit(exits_with(5, 0) ? 0 : 1);
      _exit(9);
    }
    int status = wait_for(orphan, 0);
    MUST(WIFEXITED(status) && WEXITSTATUS(status) == 9);
  }
  int status;
  while (wait(&status) > 0) MUST(status == 0);
}

static char** words;
static void* execs(void* arg) {
  execv(words[0], words);
  return arg;
}
static void* forks(void* arg) {
  *(pid_t*)arg = run(words, 1);
  return NULL;
}

static volatile int asked;
static void ask(int sig) { asked = sig; }
static void* makes(void* arg) {
  pthread_t thread;
  if (!asked) {
    MUST(!pthread_create(&thread, NULL, makes, arg));
    pthread_detach(thread);
    return NULL;
  }
  char* argv[] = {(char*)self, "exit", "0", "caught", NULL};
  _exit(WEXITSTATUS(wait_for(run(argv, 1), 0)));
}

int main(int argc, char** argv) {
  const char* way = argc > 1 ? argv[1] : "exit";
  int n = argc > 2 ? atoi(argv[2]) : 0;
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (!strcmp(way, "exit")) return n;
  if (!strcmp(way, "life")) {
    life(n);
    return wrong;
  }
  if (!strcmp(way, "threads")) {
    signal(SIGUSR1, ask);
    puts("ready");
    makes(NULL);
    for (;;) pause();
  }
  if (!strcmp(way, "signals")) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = note;
    action.sa_flags = SA_SIGINFO;
    for (int i = 0; i < 3; i++) sigaction(SIGRTMIN + i, &action, NULL);
    signal(SIGUSR1, ask);
    puts("ready");
    int sent = 0;
    for (; !asked; sent++) {
      union sigval v = {.sival_int = 1};
      sigqueue(getpid(), SIGRTMIN + sent % 3, v);
    }
    printf("%d sent, %d came\n", sent, values);
    return values != sent;
  }
  words = argv + 2;
  pthread_t thread;
  pid_t pid = 0;
  if (!strcmp(way, "fork")) pid = run(words, 0);
  if (!strcmp(way, "vfork")) pid = run(words, 1);
  if (!strcmp(way, "spawn")) MUST(!posix_spawn(&pid, words[0], NULL, NULL, words, environ));
  if (!strcmp(way, "thread")) {
    pthread_create(&thread, NULL, forks, &pid);
    pthread_join(thread, NULL);
  }
  if (!strcmp(way, "nonleader")) {  // whose leader waits, and is replaced
    if ((pid = fork()) == 0) {
      pthread_create(&thread, NULL, execs, NULL);
      pthread_join(thread, NULL);
      _exit(127);
    }
  }
  if (!strcmp(way, "sibling")) {  // made by a child, with this process as its parent
    int told[2];
    MUST(!pipe(told));
    pid_t maker = fork();
    if (maker == 0) {
      pid_t made = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
      if (made == 0) {
        execv(words[0], words);
        _exit(127);
      }
      MUST(write(told[1], &made, sizeof made) == sizeof made);
      _exit(0);
    }
    MUST(read(told[0], &pid, sizeof pid) == sizeof pid);
    MUST(wait_for(maker, 0) == 0);
  }
  if (!strcmp(way, "daemon")) {  // two forks and a session of its own; nobody here waits for it
    if (fork() == 0) {
      setsid();
      if (fork() == 0) {
        execv(words[0], words);
        _exit(127);
      }
      _exit(0);
    }
    wait(NULL);
    return 0;
  }
  if (!strcmp(way, "stopped")) {  // stops itself, and is continued, before it executes the words
    if ((pid = fork()) == 0) {
      raise(SIGSTOP);
      execv(words[0], words);
      _exit(127);
    }
    int status = wait_for(pid, WUNTRACED);
    MUST(WIFSTOPPED(status));
    kill(pid, SIGCONT);
  }
  int status = wait_for(pid, 0);
  if (wrong) return 99;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
