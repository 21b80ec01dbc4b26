// What the tests trace: each verb is one behaviour. Functions that tests set breakpoints on are named hit_*.
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

volatile long counter;
volatile long watched;
static int n;

__attribute__((noinline)) void hit_count(void) { __sync_fetch_and_add(&counter, 1); }
__attribute__((noinline)) void hit_write(long v) { watched = v; }

static void* one(void* arg) {
  (void)arg;
  hit_count();
  return NULL;
}
static void* many(void* arg) {
  for (int i = 0; i < n; i++) one(arg);
  return NULL;
}
static void* execs(void* arg) {
  execl("/proc/self/exe", "tracee", "exit", "7", NULL);
  return arg;
}
static void* writes(void* arg) {
  hit_write((long)arg);
  return NULL;
}
static void* waits(void* arg) {
  for (;;) pause();
  return arg;
}
static volatile long alarms;
static void on_alarm(int sig) { (void)sig; alarms++; }

static int* volatile nowhere;
__attribute__((noinline)) static void* faults(void* arg) {
  *nowhere = 1;
  return arg;
}
static sigjmp_buf back;
static void on_fault(int sig) { (void)sig; siglongjmp(back, 1); }

int main(int argc, char** argv) {
  const char* verb = argc > 1 ? argv[1] : "exit";
  n = argc > 2 ? atoi(argv[2]) : 0;
  pthread_t t[64];
  if (!strcmp(verb, "exit")) return n;
  if (!strcmp(verb, "count")) {  // n calls
    many(NULL);
    return counter == n ? 0 : 1;
  }
  if (!strcmp(verb, "storm")) {  // n threads that come and go, some at a time
    for (int i = 0; i < n; i += 20) {
      for (int k = 0; k < 20; k++) pthread_create(&t[k], NULL, one, NULL);
      for (int k = 0; k < 20; k++) pthread_join(t[k], NULL);
    }
    return counter == n ? 0 : 1;
  }
  if (!strcmp(verb, "together")) {  // eight threads with n calls each
    for (int k = 0; k < 8; k++) pthread_create(&t[k], NULL, many, NULL);
    for (int k = 0; k < 8; k++) pthread_join(t[k], NULL);
    return counter == 8 * n ? 0 : 1;
  }
  if (!strcmp(verb, "alarms")) {  // n calls under a signal at 1 kHz
    struct itimerval every = {{0, 1000}, {0, 1000}};
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &every, NULL);
    while (alarms < n) hit_count();
    return 0;
  }
  if (!strcmp(verb, "signals")) {  // n queued signals, each to be handled once
    sigset_t set;
    sigemptyset(&set);
    signal(SIGRTMIN, on_alarm);
    for (int i = 0; i < n; i++) {
      union sigval v = {.sival_int = i};
      sigqueue(getpid(), SIGRTMIN, v);
    }
    return alarms == n ? 0 : 1;
  }
  if (!strcmp(verb, "fork") || !strcmp(verb, "vfork")) {
    int status;
    pid_t pid = verb[0] == 'v' ? vfork() : fork();
    if (pid == 0) {
      if (verb[0] == 'v') execl("/proc/self/exe", "tracee", "count", "3", NULL);
      hit_count();  // with a breakpoint left in the copy it would die here
      _exit(counter == 1 ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    hit_count();
    return status;
  }
  if (!strcmp(verb, "exec")) {  // by a thread that is not the leader
    pthread_create(&t[0], NULL, execs, NULL);
    pthread_join(t[0], NULL);
    return 99;
  }
  if (!strcmp(verb, "write")) {  // by a thread that is made afterwards
    hit_count();
    pthread_create(&t[0], NULL, writes, (void*)42);
    pthread_join(t[0], NULL);
    return 0;
  }
  if (!strcmp(verb, "leader")) {  // the leader ends first
    pthread_create(&t[0], NULL, many, NULL);
    pthread_exit(NULL);
  }
  if (!strcmp(verb, "wait")) {
    for (int k = 0; k < n; k++) pthread_create(&t[k], NULL, waits, NULL);
    (void)!write(1, "ready\n", 6);
    waits(NULL);
  }
  if (!strcmp(verb, "doom")) {  // at SIGUSR1: 0 a fault, 1 in another thread, 2 a breakpoint instruction, 3 an exit with 7, 4 abort
    sigset_t set;
    int sig;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    (void)!write(1, "ready\n", 6);
    sigwait(&set, &sig);
    if (n == 1) {
      pthread_create(&t[0], NULL, faults, NULL);
      pthread_join(t[0], NULL);
    }
#ifdef __x86_64__
    if (n == 2) __asm__ volatile("int3");
#endif
    if (n == 3) return 7;
    if (n == 4) abort();
    faults(NULL);
    return 0;
  }
  if (!strcmp(verb, "handled")) {  // n faults, each of which a handler skips
    signal(SIGSEGV, on_fault);
    for (int i = 0; i < n; i++) {
      if (!sigsetjmp(back, 1)) faults(NULL);
    }
    return 7;
  }
  if (!strcmp(verb, "crash")) *(volatile int*)8 = 1;
  return 98;
}
