package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A gdbVersion is a client and the server that comes with it.
type gdbVersion struct{ name, client, server string }

// gdbVersions are gdb 13, and gdb 16 as make deps has unpacked it.
func gdbVersions(t testing.TB) []gdbVersion {
	t.Helper()
	return []gdbVersion{{"13", "gdb", "/usr/bin/gdbserver"}, {"16", cached(t, "gdb-16/bin/gdb"), cached(t, "gdb-16/bin/gdbserver")}}
}

// tourPlace is how scripts name a line of the tour: by a text in it.
var tourPlace = regexp.MustCompile(`tour\.cc:/([^/]+)/`)

// use runs commands, in which PORT is the debug port, to which it connects at once when none names it, DIR a temporary
// directory, ELF the program and CLIENT gdb itself. Commands of several lines are read from a file, because gdb would read the lines after the first from its
// standard input.
func (v gdbVersion) use(t testing.TB, elf, port string, commands ...string) string {
	t.Helper()
	dir := t.TempDir()
	if !slices.ContainsFunc(commands, func(c string) bool { return strings.Contains(c, "PORT") }) {
		commands = append([]string{"target remote PORT"}, commands...)
	}
	var ready []string
	for i, c := range commands {
		c = strings.NewReplacer("PORT", port, "DIR", dir, "ELF", elf, "CLIENT", v.client).Replace(c)
		c = tourPlace.ReplaceAllStringFunc(c, func(name string) string {
			return fmt.Sprintf("tour.cc:%d", tourLine(t, tourPlace.FindStringSubmatch(name)[1]))
		})
		if strings.Contains(c, "\n") {
			file := filepath.Join(dir, fmt.Sprintf("commands%d", i))
			must(t, os.WriteFile(file, []byte(c), 0o644))
			c = "source " + file
		}
		ready = append(ready, c)
	}
	return strings.ReplaceAll(gdbOf(t, v.client, elf, ready...), dir, "DIR")
}

func TestGDBCallsFunctionsAndSetsVectorRegisters(t *testing.T) {
	elf := fixture(t, "bin/test/tour")
	s := hold(t, "debug", elf, "floats")
	out := gdbVersions(t)[0].use(t, elf, s.port, "break tour::half", "continue",
		"print tour::called(1, 2)", "print tour::named(tour::origin)", "print tour::third(9.0L)", "print tour::quarter(1.0F)",
		"break tour::called", "print tour::called(3, 4)", "backtrace", "finish", "backtrace",
		"set $xmm3.v2_double[0] = 6.5", "set $ymm1.v8_int32[7] = 99", "set $st0 = 2.5", "set $mxcsr = 0x1fa0", "stepi",
		"print $xmm3.v2_double[0]", "print $ymm1.v8_int32[7]", "print $st0", "print $mxcsr",
		"delete", "continue")
	contains(t, out, "Breakpoint 1, tour::half (x=3)", "= 12\n", `"far"`, "= 3\n", "= 0.25\n",
		"stopped while in a function called from GDB", "tour::called (a=3, b=4)", "<function called from gdb>", "tour::half", "= 34\n", "tour::half",
		"= 6.5\n", "= 99\n", "= 2.5\n", "PE IM", "exited with code 07")
	if st := s.status(); st.ExitStatus() != 7 {
		t.Fatalf("the parent saw %#x", st)
	}
}

// A child that is to be kept is let go all the same, which gdb finds out; gdb 13 and gdbserver 13 wait for each other for ever.
func TestGDBWouldKeepAForkedChild(t *testing.T) {
	elf := fixture(t, "bin/test/tour")
	s := hold(t, "debug", elf, "fork")
	out := gdbVersions(t)[0].use(t, elf, s.port, "set detach-on-fork off", "break tour::leaf", "continue", "info inferiors")
	contains(t, out, "Could not read registers", "* 1 ", "detached")
	if st := s.status(); st.ExitStatus() != 7 {
		t.Fatalf("the parent saw %#x", st)
	}
}

// connectionEnds is what gdb sees of a server that is gone: which of both depends on who is faster.
var connectionEnds = difference{`^(Remote communication error.*Connection reset by peer.*|Remote connection closed)$`, "depends on who is faster"}

// gdb16Omits are the scripts that ask for thread-local variables: gdb 16 is unpacked with a libc of its own, whose libthread_db does
// not fit the program's.
var gdb16Omits = []string{"thread locals", "core file"}

// gdb16Differs are the scripts in which gdb 16 shows what gdb 13 does not; "" is any.
var gdb16Differs = map[string][]difference{
	"": {
		{`^pkru `, "gdbserver 16 reads 0, not what the kernel has"},
		{`^\[Thread .* exited\]$`, "QThreadOptions, by which gdb 15 and later hear of the end of a thread at once, is not served"},
	},
	"exec": {{`^(Cannot find thread-local storage|Remote target failed to process qGetTLSAddr|\$\d+ = [78]$)`, "no libthread_db, as above"}},
	"more hardware breakpoints than the processor has":    {{`^Cannot insert hardware breakpoint 6:Remote failure reply`, "ours says why"}},
	"extended-remote, and attach, before which gdb kills": {{`^(Python Exception|Error occurred in Python)`, "gdbserver stays for other programs; this port is that of one"}},
}

var gdbScripts = []script{
	// Breakpoints.
	{
		name:     "break by function, finish, detach",
		commands: []string{"break tour::leaf", "continue", "backtrace", "finish", "delete", "detach"},
		shows:    []string{"Breakpoint 1, tour::leaf (n=5)", "tour::outer", "Value returned", "detached"},
	},
	{
		name:     "break by line",
		commands: []string{"break tour.cc:/total += leaf/", "continue", "info locals", "continue", "info locals", "info breakpoints"},
		shows:    []string{"Breakpoint 1, tour::loop (times=10)", "i = 0", "total = 0", "i = 1", "breakpoint already hit 2 times"},
	},
	{
		name:     "break by address",
		commands: []string{"break main", "continue", "break *(char *)tour::leaf", "continue", "x/i $pc", "print $pc == (void (*)())tour::leaf", "info symbol $pc"},
		shows:    []string{"Breakpoint 2", "push   %rbp", "= true", "tour::leaf(int) in section .text"},
	},
	{
		name:     "break by regular expression",
		commands: []string{"rbreak ^tour::\\(leaf\\|middle\\)", "continue", "continue", "continue", "info breakpoints"},
		shows:    []string{"Breakpoint 1", "Breakpoint 2", "tour::middle (n=5)", "tour::leaf (n=5)", "tour::middle (n=6)"},
	},
	{
		name:     "temporary breakpoint",
		commands: []string{"tbreak tour::leaf", "continue", "info breakpoints", "continue"},
		shows:    []string{"Temporary breakpoint 1, tour::leaf (n=5)", "No breakpoints", "exited with code 07"},
	},
	{
		name:     "hardware breakpoints",
		commands: []string{"break main", "continue", "hbreak tour::leaf", "thbreak tour::factorial", "continue", "continue", "continue", "info breakpoints", "delete", "continue"},
		shows:    []string{"Hardware assisted breakpoint 2", "Breakpoint 2, tour::leaf (n=5)", "Breakpoint 2, tour::leaf (n=6)", "Temporary breakpoint 3, tour::factorial (n=5)", "hw breakpoint", "exited with code 07"},
	},
	{
		name: "more hardware breakpoints than the processor has",
		commands: []string{"break main", "continue", "hbreak tour::leaf", "hbreak tour::middle", "hbreak tour::outer", "hbreak tour::loop",
			"hbreak tour::touch", "continue", "delete 6", "continue", "backtrace 1"},
		shows: []string{" insert hardware", "Breakpoint 4, tour::outer"},
	},
	{
		name:     "pending breakpoint in a library",
		commands: []string{"set breakpoint pending on", "tbreak write", "continue", "backtrace -frame-info short-location", "info symbol $pc"},
		shows:    []string{"Function \"write\" not defined", "Temporary breakpoint 1 (write) pending", "write (", "write in section .text of"},
	},
	{
		name:     "catch throw and catch",
		args:     []string{"throw"},
		commands: []string{"catch throw", "catch catch", "continue", "backtrace", "continue", "backtrace", "continue"},
		shows:    []string{"Catchpoint 1 (exception thrown)", "tour::thrower", "Catchpoint 2 (exception caught)", "tour::thrower", "exited with code 07"},
	},
	{
		name:     "condition and ignore count",
		commands: []string{"break tour::leaf if n > 5", "continue", "print n", "condition 1 n < 5", "ignore 1 2", "continue", "print n", "condition 1", "continue", "print n"},
		shows:    []string{"tour::leaf (n=6)", "tour::leaf (n=2)", "tour::leaf (n=3)"},
	},
	{
		name:     "condition that is false many times",
		args:     []string{"many"},
		commands: []string{"break tour::leaf if n == 299", "continue", "backtrace", "continue"},
		shows:    []string{"tour::leaf (n=299)", "exited with code 07"},
	},
	{
		name:     "condition with a register, memory, and an error in it",
		commands: []string{"set breakpoint condition-evaluation host", "break tour::leaf if $rdi == 3 && tour::table[2] == 3", "continue", "print n", "break tour::touch if *(int *)0 == 1", "continue"},
		shows:    []string{"tour::leaf (n=3)", "Error in testing", "Cannot access memory at address 0x0", "Breakpoint 2, tour::touch"},
	},
	{
		name: "commands of a breakpoint",
		commands: []string{"break tour::factorial", "commands 1\nsilent\nprintf \"factorial of %d\\n\", n\ncontinue\nend",
			"dprintf tour::touch,\"touch %d\\n\", n", "continue"},
		shows: []string{"factorial of 5", "factorial of 4", "factorial of 1", "touch 21", "exited with code 07"},
	},
	{
		name:     "disable, enable, delete",
		commands: []string{"break tour::leaf", "break tour::factorial", "break tour::touch", "disable 1", "continue", "enable once 1", "disable 2", "continue", "info breakpoints", "enable count 2 2", "delete 3", "continue"},
		shows:    []string{"Breakpoint 2, tour::factorial (n=5)", "Breakpoint 1, tour::leaf (n=0)", "dis  n", "exited with code 07"},
	},
	{
		name:     "breakpoint of one thread",
		args:     []string{"threads"},
		commands: []string{"break tour::together", "continue", "break tour.cc:/return nullptr;/ thread 3", "info breakpoints", "continue", "thread", "print id", "continue"},
		shows:    []string{"stop only in thread 3", "Thread 3 \"wrk:1\" hit Breakpoint 2", "= 1", "exited with code 07"},
	},
	// Watchpoints.
	{
		name:     "watch",
		commands: []string{"break main", "continue", "watch tour::watched", "continue", "continue", "backtrace 1", "info watchpoints", "continue"},
		shows:    []string{"Hardware watchpoint 2", "Old value = 0", "New value = 21", "Old value = 21", "New value = 42", "already hit 2 times", "exited with code 07"},
	},
	{
		name:     "rwatch",
		commands: []string{"break main", "continue", "rwatch tour::watched", "continue", "backtrace 1", "continue"},
		shows:    []string{"Hardware read watchpoint 2", "Value = 21", "tour::touch"},
	},
	{
		name:     "awatch",
		commands: []string{"break main", "continue", "awatch tour::watched", "continue", "continue", "continue", "continue"},
		shows:    []string{"Hardware access (read/write) watchpoint 2", "New value = 21", "Value = 21", "New value = 42", "exited with code 07"},
	},
	{
		name:     "watch a local until its scope ends",
		commands: []string{"break tour::touch", "continue", "watch seen", "continue", "continue", "continue"},
		shows:    []string{"Hardware watchpoint 2: seen", "New value = 21", "left the block in", "exited with code 07"},
	},
	{
		name:     "watch with a condition, and of a location",
		commands: []string{"break tour::loop", "continue", "next", "watch total if total > 50", "watch -location tour::counter if tour::counter > 100", "continue", "print total", "delete 2", "continue", "print tour::counter"},
		shows:    []string{"Hardware watchpoint 2: total", "New value = 56", "= 56", "Hardware watchpoint 3: -location tour::counter", "New value = 112"},
	},
	{
		name:     "software watch",
		commands: []string{"set can-use-hw-watchpoints 0", "break tour::touch", "continue", "watch tour::watched", "continue", "continue", "delete 2", "continue"},
		shows:    []string{"Watchpoint 2: tour::watched", "New value = 21", "New value = 42", "exited with code 07"},
	},
	{
		name:     "watch more than the debug registers can",
		commands: []string{"break tour::touch", "continue", "watch tour::table", "watch tour::watched", "continue", "delete 2", "continue", "watch tour::message", "continue", "delete 3", "continue", "watch *(char(*)[3])((char *)&tour::ratio + 1)", "info watchpoints"},
		shows:    []string{"Hardware watchpoint 2: tour::table", "Could not insert hardware watchpoint 2", "Hardware watchpoint 3: tour::watched", "New value = 21", "Hardware watchpoint 4: tour::message", "Could not insert"},
	},
	{
		name:     "watch in threads",
		args:     []string{"threads"},
		commands: []string{"break main", "continue", "watch tour::waiting._M_impl._M_start[2]._M_i", "continue", "info watchpoints", "delete", "continue"},
		shows:    []string{"Hardware watchpoint 2", "hit Hardware watchpoint 2", "Old value = 0", "already hit 1 time", "exited with code 07"},
		differs:  []difference{{`^\[New Thread `, "by then the last thread is there or not"}},
	},
	{
		name:     "watch while stepping",
		commands: []string{"break tour::outer", "continue", "watch tour::counter", "next", "backtrace", "finish", "next", "delete 2", "next"},
		shows:    []string{"Breakpoint 1, tour::outer", "Hardware watchpoint 2: tour::counter", "New value = 10", "tour::leaf", "tour::outer"},
	},
	{
		name:     "a watched write before a breakpoint",
		commands: []string{"break tour.cc:/int seen = watched/", "break tour::touch", "continue", "watch tour::watched", "continue", "x/i $pc", "continue", "continue", "info breakpoints"},
		shows:    []string{"Breakpoint 2, tour::touch", "Breakpoint 1, tour::touch", "New value = 42", "already hit 2 times"},
	},
	{
		name:     "software and hardware breakpoint at one place",
		commands: []string{"break main", "continue", "break tour.cc:/int doubled/", "hbreak tour.cc:/int doubled/", "continue", "stepi", "continue", "delete 2", "continue", "next", "info breakpoints"},
		shows:    []string{"Breakpoint 2, tour::leaf (n=5)", "tour::leaf (n=6)", "Breakpoint 3, tour::leaf (n=0)", "already hit 3 times"},
	},
	// Stepping.
	{
		name:     "step, next, finish, up and down",
		commands: []string{"break tour::outer", "continue", "step", "step", "step", "next", "backtrace", "up", "info frame", "down", "finish", "next", "finish", "delete", "continue"},
		shows:    []string{"tour::middle (n=5)", "tour::leaf (n=5)", "doubled;", "Value returned", "exited with code 07"},
	},
	{
		name:     "stepi and nexti",
		commands: []string{"x/i $pc", "stepi", "x/i $pc", "stepi 5", "x/i $pc", "break tour::middle", "continue", "nexti 3", "x/i $pc", "stepi", "backtrace", "display/i $pc", "nexti", "stepi"},
		shows:    []string{"<_start>", "<_start+3>", "tour::middle"},
	},
	{
		name:     "until and advance",
		commands: []string{"break tour::loop", "continue", "next 3", "until", "until", "until", "until", "advance tour::touch", "backtrace 1"},
		shows:    []string{"Breakpoint 1, tour::loop", "return total;", "tour::touch (n=21)"},
	},
	{
		name:     "next over a call and over a loop",
		commands: []string{"break tour::outer", "continue", "next", "next", "info locals", "finish", "next", "next", "next", "next"},
		shows:    []string{"int b = middle(n + 1);", "a = 11", "Value returned is $1 = 24", "tour::loop(10)"},
	},
	{
		name:     "step over a breakpoint",
		commands: []string{"break tour.cc:/int doubled/", "break tour.cc:/counter += doubled;/", "continue", "stepi", "next", "next", "info breakpoints", "continue", "step", "step"},
		shows:    []string{"Breakpoint 1, tour::leaf (n=5)", "Breakpoint 2, tour::leaf (n=5)", "already hit 1 time", "Breakpoint 1, tour::leaf (n=6)", "Breakpoint 2"},
	},
	{
		name:     "next stops at a breakpoint further in",
		commands: []string{"break tour::outer", "break tour::leaf", "continue", "next", "backtrace", "delete 2", "finish"},
		shows:    []string{"Breakpoint 2, tour::leaf (n=5)", "tour::outer", "Value returned is $1 = 10"},
	},
	{
		name:     "return and jump",
		commands: []string{"break tour::middle", "continue", "return 100", "frame", "next", "info locals", "jump tour.cc:/int a = middle/", "return 9", "next", "info locals"},
		shows:    []string{"Breakpoint 1, tour::middle", "tour::outer", "a = 100", "Breakpoint 1, tour::middle", "a = 9"},
	},
	{
		name:     "finish out of recursion",
		commands: []string{"break tour::factorial if n == 1", "continue", "backtrace", "finish", "up 2", "finish"},
		shows:    []string{"#4", "Value returned is $1 = 1", "Value returned is $2 = 24"},
	},
	{
		name:     "skip",
		commands: []string{"skip function tour::middle", "break tour::outer", "continue", "step", "step", "info skip"},
		shows:    []string{"tour::middle", "int b = middle(n + 1);"},
	},
	{
		name:     "record and reverse",
		commands: []string{"break tour::outer", "continue", "reverse-step", "reverse-continue", "record btrace", "record full", "next", "reverse-next", "record stop"},
		shows:    []string{"Target remote does not support this command", "Target remote does not support this command", "tour::outer (n=5)", "logs are deleted"},
		differs:  []difference{{`(?i)branch tracing`, "gdbserver can, where the processor can, which it cannot here; we never do"}},
	},
	// Threads.
	{
		name:     "threads",
		args:     []string{"threads"},
		commands: []string{"break tour::together", "continue", "info threads", "thread apply all -ascending backtrace -frame-info short-location", "thread 3", "backtrace -frame-info short-location", "frame function tour::worker", "print id", "thread find wrk:3", "thread name second", "info threads 3", "thread apply 2 4 print $_thread", "taas print $_gthread"},
		shows:    []string{"wrk:0", "wrk:3", "tour::worker", "has target name 'wrk:3'", "second"},
	},
	{
		name:     "thread locals",
		args:     []string{"threads"},
		commands: []string{"print tour::mine", "break tour::together", "continue", "print tour::mine", "thread apply 2 3 4 5 print tour::mine", "thread 4", "print &tour::mine", "set var tour::mine = 55", "print tour::mine", "thread 1", "print tour::mine"},
		shows:    []string{"$1 = 7", "= 100", "= 101", "= 102", "= 103", "= 55", "= 7"},
	},
	{
		name:     "one thread alone",
		args:     []string{"threads"},
		commands: []string{"break tour::together", "continue", "set scheduler-locking on", "next", "next", "thread 3", "stepi", "info threads", "set scheduler-locking off", "continue"},
		shows:    []string{"together () at", "pthread_barrier_wait(&barrier);", "* 3", "exited with code 07"},
	},
	{
		name:     "all threads at one breakpoint",
		args:     []string{"threads"},
		commands: []string{"break tour.cc:/waiting[id] =/", "commands 1\nsilent\ncontinue\nend", "break tour::together", "continue", "info breakpoints", "delete", "continue"},
		shows:    []string{"Breakpoint 2, tour::together", "already hit 4 times", "exited with code 07"},
		differs:  []difference{{`^\[(New|Switching to) Thread `, "when it starts and stops is up to the system"}},
	},
	{
		name:     "step to the end of a thread",
		args:     []string{"threads"},
		commands: []string{"break tour.cc:/return nullptr;/ thread 3", "break tour::together", "continue", "break tour.cc:/return nullptr;/ thread 3", "continue", "next", "finish"},
		shows:    []string{"tour::together", "Thread 3 \"wrk:1\" hit", "return nullptr;"},
	},
	{
		name:     "detach from threads",
		args:     []string{"threads"},
		commands: []string{"break tour::together", "break tour::worker", "tbreak tour.cc:/return nullptr;/", "continue", "detach"},
		shows:    []string{"hit Breakpoint 2", "detached"},
		differs:  []difference{{`^\[(New|Switching to) Thread |hit Breakpoint 2, tour::worker`, "which thread comes first is up to the system"}},
	},
	{
		name:     "kill threads",
		args:     []string{"threads"},
		commands: []string{"break tour::together", "continue", "thread 4", "kill", "info threads"},
		shows:    []string{"tour::together", "Switching to thread 4", "killed", "No threads"},
	},
	// Signals.
	{
		name:     "stop at signals",
		args:     []string{"signals"},
		commands: []string{"continue", "info program", "backtrace -frame-info short-location", "print $_siginfo.si_signo", "continue", "continue", "print tour::handled", "continue"},
		shows:    []string{"Program received signal SIGUSR1", "= 10", "Program received signal SIGUSR2", "SIG36", "exited with code 07"},
	},
	{
		name:     "handle",
		args:     []string{"signals"},
		commands: []string{"handle SIGUSR1 nostop noprint pass", "handle SIGUSR2 nostop print", "handle SIG36 nostop noprint nopass", "break tour::handler", "continue", "print sig", "delete", "continue"},
		shows:    []string{"Breakpoint 1, tour::handler (sig=10)", "Program received signal SIGUSR2", "exited with code 07"},
	},
	{
		name:     "a signal is not passed",
		args:     []string{"signals"},
		commands: []string{"continue", "signal 0", "signal 0", "print tour::handled", "signal 0"},
		shows:    []string{"SIGUSR1", "SIGUSR2", "SIG36", "= 0", "exited with code 07"},
	},
	{
		name:     "send other signals",
		args:     []string{"signals"},
		commands: []string{"break tour::handler", "continue", "queue-signal SIGUSR1", "continue", "print sig", "continue", "signal SIGUSR1", "print sig", "delete", "continue", "queue-signal 0", "continue", "print tour::handled"},
		shows:    []string{"received signal SIGUSR1", "Breakpoint 1, tour::handler (sig=10)", "= 10", "SIGUSR2", "Breakpoint 1, tour::handler (sig=10)", "SIG36", "exited with code 07"},
	},
	{
		name:     "a signal that ends it",
		args:     []string{"signals"},
		commands: []string{"continue", "signal SIGTERM", "print $_exitsignal", "info program"},
		shows:    []string{"terminated with signal SIGTERM", "= 15"},
	},
	{
		name:     "step into a signal handler",
		args:     []string{"signals"},
		commands: []string{"continue", "stepi", "backtrace -frame-info short-location", "step", "finish", "handle SIG36 nostop", "handle SIGUSR2 nostop", "break tour::handler", "continue"},
		shows:    []string{"SIGUSR1", "tour::handler", "<signal handler called>", "tour::handler (sig=36)"},
	},
	{
		name:     "step while a signal arrives",
		args:     []string{"signals"},
		commands: []string{"handle all nostop noprint pass", "break tour::signals", "continue", "next", "next", "print tour::handled", "next", "next", "next"},
		shows:    []string{"raise(SIGUSR1)", "= 10", "sigemptyset"},
	},
	{
		name:     "catch signal",
		args:     []string{"signals"},
		commands: []string{"catch signal SIGUSR2 SIG36", "handle SIGUSR1 nostop noprint", "continue", "continue", "info breakpoints", "continue"},
		shows:    []string{"Catchpoint 1 (signal SIGUSR2)", "Catchpoint 1 (signal SIG36)", "exited with code 07"},
	},
	{
		name:     "siginfo",
		args:     []string{"signals"},
		commands: []string{"continue", "print $_siginfo", "ptype $_siginfo", "set var $_siginfo._sifields._kill.si_uid = 77", "print $_siginfo._sifields._kill.si_uid", "print $_siginfo.si_code"},
		shows:    []string{"si_signo = 10", "_sigfault", "= 77"},
	},
	{
		name:     "crash",
		args:     []string{"crash"},
		commands: []string{"continue", "backtrace", "print $_siginfo._sifields._sigfault.si_addr", "x/i $pc", "info registers rax rip", "continue", "print $_exitsignal", "print $_exitcode"},
		shows:    []string{"SIGSEGV, Segmentation fault", "tour::crash", "(void *) 0x10", "terminated with signal SIGSEGV", "= 11", "void"},
	},
	{
		name:     "crash that is mended",
		args:     []string{"crash"},
		commands: []string{"continue", "print nowhere = &tour::counter", "set $rax = nowhere", "signal 0"},
		shows:    []string{"SIGSEGV", "exited with code 07"},
	},
	{
		name:     "abort",
		args:     []string{"abort"},
		commands: []string{"continue", "backtrace -frame-info short-location", "continue"},
		shows:    []string{"SIGABRT, Aborted", "main", "terminated with signal SIGABRT"},
	},
	{
		name:     "exit code",
		commands: []string{"continue", "print $_exitcode", "info inferiors", "info threads", "x/i 0", "continue", "run"},
		shows:    []string{"exited with code 07", "= 7", "not being run"},
	},
	{
		name:     "traps of the program's own, and stops",
		args:     []string{"traps"},
		commands: []string{"continue", "x/i $pc - 1", "backtrace 1", "print $_siginfo.si_code", "continue", "print $_siginfo.si_code", "continue", "continue", "signal 0"},
		shows:    []string{"SIGTRAP", "int3", "tour::traps", "= 128", "SIGTRAP", "= -6", "SIGINT", "SIGSTOP", "exited with code 07"},
	},
	{
		name:     "a trap of the program's own where a breakpoint is",
		args:     []string{"traps"},
		commands: []string{"break tour.cc:/int3/", "continue", "stepi", "continue", "next", "next"},
		shows:    []string{"Breakpoint 1, tour::traps", "raise(SIGINT)"},
	},
	// Registers.
	{
		name:     "registers",
		commands: []string{"info registers", "break tour::leaf", "continue", "info registers", "print $eflags", "print/x $rip", "print $sp", "print $fs_base != 0", "info registers eflags cs"},
		shows:    []string{"rip", "<_start>", "eflags", "rip", "<tour::leaf(int)+", "[ "},
	},
	{
		name: "floating point",
		args: []string{"floats"},
		commands: []string{"break tour::third", "break tour::half", "break tour::quarter", "continue", "stepi 2", "info float", "finish", "info registers st0 fctrl fstat ftag fop",
			"continue", "print $xmm0", "print x", "finish", "print $xmm0.v2_double[0]", "continue", "print x", "finish", "print tour::ratio"},
		shows: []string{"=>R6: Valid", "Value returned is $1 = 0.66666666", "Value returned is $4 = 1.5", "Value returned is $7 = 0.25"},
	},
	{
		name:     "all registers",
		args:     []string{"floats"},
		commands: []string{"break tour::half", "continue", "info all-registers", "info vector"},
		shows:    []string{"rip", "st0", "mxcsr", "mm0"},
	},
	{
		name:     "set registers",
		args:     []string{"floats"},
		commands: []string{"break tour::half", "continue", "set $rcx = 0x123456789abcdef0", "print/x $rcx", "set $eflags = $eflags | 1", "print $eflags", "set $ax = 0x1234", "print/x $eax", "set $fs = 0", "stepi", "print/x $rcx", "print $ax", "print $eflags"},
		shows:    []string{"= 0x123456789abcdef0", "CF", "1234", "0x123456789abcdef0", "4660", "CF"},
	},
	{
		name: "set the program counter",
		commands: []string{"break tour::leaf", "continue", "next", "next", "print tour::counter", "jump tour.cc:/int doubled/", "next", "next", "print tour::counter",
			"info line tour.cc:/counter += doubled;/", "set $pc = $_", "x/i $pc", "next", "print tour::counter"},
		shows: []string{"tour::leaf (n=5)", "= 10", "Breakpoint 1, tour::leaf (n=5)", "= 20", "=> ", "= 30"},
	},
	// Memory and values.
	{
		name: "examine memory",
		commands: []string{"break tour::leaf", "continue", "x/8xb tour::table", "x/4dh tour::table", "x/4uw tour::table", "x/8og tour::table", "x/2tw tour::table", "x/s tour::message", "x/4c tour::message", "x/fg &tour::ratio",
			"x/3i $pc", "x/2a $sp", "x/2zw &tour::origin", "print tour::table[1]@3", "x/-2xg &tour::table[4]", "output tour::ratio", "x/xg 0", "x/4xw 0x7ffffffff000", "print *(long *)0xffffffffff600000"},
		shows: []string{"0x01", "before", "1.5", "{2, 3, 4}", "Cannot access memory at address 0x0"},
	},
	{
		name:     "structures and containers",
		args:     []string{"containers"},
		commands: []string{"break tour.cc:/counter += static_cast<int>(text/", "continue", "info locals", "print text", "print numbers", "set print pretty on", "print tour::origin", "print *(tour::Square *)shape._M_t", "print tour::table", "info types Point", "print numbers._M_impl._M_start[1]", "ptype shape", "set print object on", "info vtbl text"},
		shows:    []string{"text = ", "numbers = ", "x = 3,", "= 2"},
	},
	{
		name:     "types",
		commands: []string{"ptype tour::Point", "ptype/o tour::Square", "whatis tour::table", "ptype tour::outer", "print sizeof(tour::Shape)", "info line tour::leaf", "info address tour::leaf", "info scope tour::leaf", "info symbol tour::counter", "list tour::leaf", "info source"},
		shows:    []string{"int sum(", "offset", "long [8]", "int (int)", "Line ", "Symbol"},
	},
	{
		name: "set variables and memory",
		commands: []string{"break tour::touch", "continue", "set var n = 50", "set var tour::origin.x = 30", "print tour::origin", "set var tour::ratio = 2.25", "print tour::ratio", "set {int}&tour::counter = 1234", "print tour::counter", "print tour::message = \"changed\"", "x/s tour::message",
			"set {char}0 = 1", "set {char}tour::touch = *(char *)tour::touch", "next 3", "print tour::watched"},
		shows: []string{"{x = 30, y = 4}", "2.25", "1234", "changed", "Cannot access memory at address 0x0", "= 100"},
	},
	{
		name:     "find",
		commands: []string{"break tour::leaf", "continue", "find &tour::table, sizeof(tour::table), 5L", "find /g tour::table, +64, 3, 4", "find tour::message, +32, \"fore\"", "find tour::message, +32, 'z'", "find /1 &tour::table, +64, (char)0", "print $_", "print $numfound", "find 0, 0x100, 5"},
		shows:    []string{"1 pattern found", "1 pattern found", "Pattern not found", "1 pattern found"},
	},
	{
		name: "dump, restore, append",
		commands: []string{"break tour::leaf", "continue", "dump binary memory DIR/table &tour::table &tour::table[8]", "shell od -An -td8 DIR/table", "set var tour::table[3] = 44", "restore DIR/table binary &tour::table", "print tour::table", "dump srec value DIR/message tour::message", "shell cat DIR/message",
			"dump binary memory DIR/none 0 16"},
		shows: []string{"4", "Restoring binary file", "{1, 2, 3, 4, 5, 6, 7, 8}", "S0", "Cannot access memory at address 0x0"},
	},
	{
		name:     "disassemble",
		commands: []string{"break tour::leaf", "continue", "disassemble", "disassemble /rs tour::middle", "disassemble /m $pc,+8", "x/5i _start", "info line *$pc"},
		shows:    []string{"=>", "End of assembler dump", "int result = leaf(n);"},
	},
	{
		name:     "breakpoints do not show in memory",
		commands: []string{"set breakpoint always-inserted on", "break main", "break *(char *)tour::leaf", "continue", "x/2xb tour::leaf", "disassemble tour::leaf", "compare-sections .text"},
		shows:    []string{"0x55", "End of assembler dump", ".text"},
	},
	{
		name:     "display",
		commands: []string{"break tour::loop", "continue", "display total", "tbreak tour.cc:/total += leaf/", "continue", "display/x i", "next", "next", "undisplay 1", "next", "info display"},
		shows:    []string{"1: total", "2: /x i = 0x0", "2: /x i = 0x1"},
	},
	// The process.
	{
		name:     "info proc",
		commands: []string{"break tour::leaf", "continue", "info proc", "info proc mappings", "info proc cmdline", "info proc cwd", "info proc exe", "info proc status"},
		shows:    []string{"process ", "exe = ", "Mapped address spaces", "[stack]", "cmdline", "State:"},
		differs:  []difference{{`^(TracerPid|VmHWM|VmRSS|RssFile|RssAnon|SigQ|(non)?voluntary_ctxt_switches):`, "differs in any two runs"}},
	},
	{
		name:     "auxv, libraries, files, inferiors",
		commands: []string{"info auxv", "info sharedlibrary", "info inferiors", "break tour::leaf", "continue", "info sharedlibrary", "info inferiors"},
		shows:    []string{"AT_ENTRY", "AT_EXECFN", "Num  Description", "libstdc++.so", "libc.so.6", "Num  Description"},
	},
	{
		name:     "info os",
		commands: []string{"info os", "info inferiors"},
		shows:    []string{"Num  Description"},
		differs:  []difference{{`Listing of all|^Type  |^Can not fetch data now`, "we serve no tables of the whole machine"}},
	},
	{
		name:     "info signals",
		commands: []string{"info signals SIGUSR1", "info handle 14", "handle SIGALRM stop print", "info signals SIGALRM", "info line main"},
		shows:    []string{"SIGUSR1", "SIGALRM", "Alarm clock", "Line"},
	},
	{
		name:     "stop when libraries come",
		commands: []string{"catch load libc", "continue", "info sharedlibrary", "continue"},
		shows:    []string{"Catchpoint 1", "Inferior loaded", "libc.so.6", "exited with code 07"},
	},
	{
		name:     "stop at events of the loader",
		commands: []string{"set stop-on-solib-events 1", "continue", "info sharedlibrary", "set stop-on-solib-events 0", "break tour::leaf", "continue"},
		shows:    []string{"Stopped due to shared library event", "ld-linux", "Breakpoint 1, tour::leaf"},
	},
	{
		name: "much memory",
		commands: []string{"break tour::leaf", "continue", "dump binary memory DIR/libc (char*)&write (char*)&write+0x40000", "shell sha1sum <DIR/libc", "dump binary memory DIR/stack $sp-0x10000 $sp-0x100",
			"restore DIR/stack binary $sp-0x10000", "dump binary memory DIR/again $sp-0x10000 $sp-0x100", "shell cmp DIR/stack DIR/again && wc -c <DIR/again", "find /w $sp-0x10000, $sp+0x200, 0x600df00d", "backtrace"},
		shows: []string{"-\n", "Restoring binary file", "65280", "Pattern not found", "#0  tour::leaf"},
	},
	{
		name:     "where the memory ends",
		commands: []string{"x/24xb 0x7fffffffeff0", "x/s 0x7fffffffeff0", "x/2s 0x7ffffffff000-9", "find 0x7fffffffe000, +0x4000, (char)0x5a, (char)0x5b", "dump binary memory DIR/end 0x7fffffffe000 0x800000001000", "print *(char(*)[32])0x7fffffffeff0", "set {long}0x7fffffffeffc = 1", "output *(char*)0x7fffffffeffc"},
		shows:    []string{"0x7fffffffeff8", "Cannot access memory at address 0x7ffffffff000"},
		differs:  []difference{{`^Cannot access memory at address 0x7fffffff(e000|eff0|f000)$`, "our replies are as long as there is memory, and gdb names the first address without; gdbserver fails as a whole"}},
	},
	{
		name:     "a library that comes and goes",
		args:     []string{"library"},
		commands: []string{"set breakpoint pending on", "break tour::leaf", "catch load resolv", "catch unload resolv", "break __res_context_query", "continue", "continue", "info sharedlibrary", "info breakpoints", "continue", "continue", "info sharedlibrary", "continue"},
		shows:    []string{"Inferior loaded", "tour::leaf (n=1)", "libresolv", "Inferior unloaded", "tour::leaf (n=2)", "exited with code 07"},
	},
	{
		name:     "a static program at fixed addresses",
		elf:      "probe-static",
		args:     []string{"exit", "3"},
		commands: []string{"info files", "compare-sections .text", "break main", "continue", "compare-sections", "info sharedlibrary", "info auxv", "stepi 3", "backtrace", "continue"},
		shows:    []string{"Entry point", "Section .text, range", "matched", "Breakpoint 1, main", "No shared libraries", "AT_ENTRY", "exited with code 03"},
	},
	{
		name:     "a static position-independent program",
		elf:      "probe-static-pie",
		args:     []string{"exit", "3"},
		commands: []string{"x/i $pc", "break main", "continue", "info sharedlibrary", "next", "backtrace", "delete", "continue"},
		shows:    []string{"_start", "Breakpoint 1, main", "#0", "exited with code 03"},
	},
	{
		name:     "a Go program",
		elf:      "goprog",
		args:     []string{"exit"},
		commands: []string{"break main.main", "continue", "backtrace", "info locals", "delete", "continue"},
		shows:    []string{"hit Breakpoint 1", "main.main", "exited normally"},
		differs: []difference{
			{`^\[(New )?Thread `, "the runtime starts more or fewer threads in any two runs"},
			{`^c = 0x`, "it places its heap at random"},
		},
	},
	// System calls, forks, programs.
	{
		name:     "catch system calls",
		args:     []string{"calls"},
		commands: []string{"break tour::calls", "continue", "catch syscall getppid", "catch syscall 121", "continue", "continue", "continue", "continue", "info breakpoints", "continue", "continue", "continue"},
		shows:    []string{"Catchpoint 2 (call to syscall getppid)", "Catchpoint 2 (returned from syscall getppid)", "Catchpoint 3 (call to syscall getpgid)", "Catchpoint 3 (returned from syscall getpgid)", "exited with code 07"},
	},
	{
		name:     "catch all system calls",
		args:     []string{"calls"},
		commands: []string{"break tour::calls", "continue", "catch syscall", "continue", "continue", "print $orig_rax", "continue", "continue", "continue", "continue", "continue", "delete", "continue"},
		shows:    []string{"any syscall", "call to syscall getppid", "call to syscall getpgid", "returned from syscall getpgid", "exit_group", "exited with code 07"},
	},
	{
		name:     "catch system call and step",
		args:     []string{"calls"},
		commands: []string{"break tour::calls", "continue", "catch syscall getpgid", "next", "next", "stepi", "next", "finish", "next", "finish"},
		shows:    []string{"SYS_getpgid", "call to syscall getpgid", "syscall ()", "tour::calls"},
	},
	{
		name:     "catch fork",
		args:     []string{"fork"},
		commands: []string{"break tour::leaf", "catch fork", "continue", "info breakpoints", "continue", "print tour::counter", "info inferiors", "continue"},
		shows:    []string{"Catchpoint 2 (forked process", "Breakpoint 1, tour::leaf (n=1)", "= 3", "exited with code 07"},
	},
	{
		name:     "catch vfork",
		args:     []string{"vfork"},
		commands: []string{"break tour::leaf", "break _exit", "catch vfork", "continue", "continue", "print tour::counter", "continue"},
		shows:    []string{"Catchpoint 3 (vforked process", "Breakpoint 1, tour::leaf (n=1)", "= 3", "_exit ("},
	},
	{
		name:     "fork with breakpoints that the child meets",
		args:     []string{"fork"},
		commands: []string{"set follow-fork-mode parent", "set detach-on-fork on", "set print inferior-events on", "break _exit", "break tour::leaf", "continue", "continue", "continue"},
		shows:    []string{"Detaching after fork from child", "Breakpoint 2, tour::leaf (n=1)", "exited with code 07"},
	},
	{
		name:     "follow the child",
		args:     []string{"fork"},
		commands: []string{"set follow-fork-mode child", "break tour::leaf", "continue", "info inferiors"},
		shows:    []string{"Detaching after fork from parent", "<null>"}, // a session serves one process
		differs:  []difference{connectionEnds},
	},
	{
		name:     "exec",
		args:     []string{"exec"},
		commands: []string{"catch exec", "break tour::leaf", "watch tour::counter", "continue", "info breakpoints", "x/i $pc", "info inferiors", "continue", "backtrace", "info sharedlibrary", "print tour::mine", "set var tour::mine = 8", "print tour::mine", "continue", "continue"},
		shows:    []string{"Catchpoint 1 (exec'd", "tour::leaf (n=2)", "exited with code 07"},
	},
	{
		name:     "exec without a catchpoint",
		args:     []string{"exec"},
		commands: []string{"break tour::leaf", "continue", "backtrace", "detach"},
		shows:    []string{"is executing new program", "tour::leaf (n=2)"},
	},
	{
		name: "core file",
		args: []string{"threads"},
		commands: []string{"break tour::together", "continue", "generate-core-file DIR/core", "detach",
			"shell CLIENT -nx -q -batch -ex 'set width 0' -ex 'set debuginfod enabled off' -ex 'info threads' -ex 'thread apply all backtrace -frame-info short-location' -ex 'print $_siginfo.si_signo' -ex 'thread 3' -ex 'print tour::mine' -ex 'info registers rip rsp' -ex 'info sharedlibrary' -ex 'info auxv' ELF DIR/core 2>&1"},
		shows: []string{"Saved corefile", "detached", "Core was generated", "tour::worker", "tour::together", "= 101"},
	},
	{
		name:     "core file of a crash",
		args:     []string{"crash"},
		commands: []string{"continue", "gcore DIR/core", "kill", "shell CLIENT -nx -q -batch -ex 'set debuginfod enabled off' -ex backtrace -ex 'print $_siginfo._sifields._sigfault' -ex 'info registers' -ex 'print tour::table' ELF DIR/core 2>&1"},
		shows:    []string{"SIGSEGV", "Saved corefile", "Program terminated with signal SIGSEGV", "tour::crash", "0x10", "{1, 2, 3"},
	},
	// The server.
	{
		name:     "tracepoints",
		commands: []string{"trace tour::leaf", "actions\ncollect n\nend", "tstart", "tstop", "delete", "continue"},
		shows:    []string{"Tracepoint 1", "exited with code 07"},
		differs:  []difference{{`^(Target does not support this command|Trace is not running)`, "we offer no tracepoints"}},
	},
	{
		name:     "monitor",
		commands: []string{"monitor help"},
		shows:    []string{"monitor "},
		differs:  []difference{{`^(The following monitor commands|  +\S|monitor \w+ )`, "each server has commands of its own"}},
	},
	{
		name:     "disconnect",
		commands: []string{"break tour::leaf", "continue", "disconnect", "info threads", "info breakpoints"},
		shows:    []string{"Breakpoint 1, tour::leaf", "No threads", "already hit 1 time"},
	},
	{
		name: "disconnect and connect again",
		commands: []string{"target remote PORT", "break tour::leaf", "continue", "disconnect",
			"python\nwhile True:\n  try:\n    gdb.execute('target remote PORT')\n    break\n  except gdb.error:\n    pass\nend", "backtrace", "continue", "detach"},
		differs: []difference{{`one client at a time`, "as long as the first connection is not gone yet"}},
		shows:   []string{"Breakpoint 1, tour::leaf (n=5)", "tour::leaf (n=5)", "tour::middle", "tour::leaf (n=6)", "detached"},
	},
	{
		name:     "detach at once",
		commands: []string{"detach", "info inferiors"},
		shows:    []string{"detached", "<null>"},
	},
	{
		name:     "detach while it waits in a system call",
		args:     []string{"forever"},
		commands: []string{"break tour::forever", "continue", "break pause", "continue", "backtrace", "detach"},
		shows:    []string{"tour::forever", "Breakpoint 2", "main", "detached"},
	},
	{
		name:     "kill",
		commands: []string{"break tour::leaf", "continue", "kill", "info inferiors", "info threads"},
		shows:    []string{"tour::leaf (n=5)", "killed", "No threads"},
	},
	{
		name:     "quit",
		args:     []string{"forever"},
		commands: []string{"break tour::forever", "continue", "quit"},
		shows:    []string{"tour::forever"},
	},
	{
		name:     "extended-remote",
		commands: []string{"target extended-remote PORT", "break tour::leaf", "continue", "info inferiors", "show args", "detach", "info inferiors"},
		shows:    []string{"Breakpoint 1, tour::leaf (n=5)", "detached"},
	},
	{
		name:     "extended-remote, and attach, before which gdb kills",
		commands: []string{"target extended-remote PORT", "python gdb.execute('attach %d' % gdb.selected_inferior().pid)"},
		shows:    []string{"gdb.error"},
		differs:  []difference{{`^gdb.error: (Attaching to process PID failed|Remote connection closed|Remote communication error.*Connection reset by peer.*)$`, "our server ends with the process, gdbserver tries"}},
	},
	{
		name:     "extended-remote, and run, before which gdb kills",
		commands: []string{"target extended-remote PORT", "run"},
		shows:    []string{"_start", "\n"},
		differs:  []difference{connectionEnds, {`^Running the default executable on the remote target failed`, "our server ends with the process, gdbserver has no program to start"}},
	},
	{
		name:     "extended-remote to the end",
		commands: []string{"target extended-remote PORT", "continue", "info inferiors", "detach"},
		shows:    []string{"exited with code 07"},
		differs:  []difference{connectionEnds},
	},
	{
		name:     "the program from the target",
		commands: []string{"set sysroot target:", "file", "target remote PORT", "info sharedlibrary", "break tour::leaf", "continue", "backtrace", "info sharedlibrary", "info files"},
		shows:    []string{"Reading", "target:/", "tour::leaf (n=5)", "tour::outer", "libc.so.6"},
	},
	{
		name:     "files of the target",
		commands: []string{"remote get /proc/version DIR/version", "shell cmp DIR/version /proc/version && echo same", "remote get /none DIR/none", "remote put DIR/version /none/version"},
		shows:    []string{"same", "No such file"},
		differs:  []difference{{`^Remote I/O error: (Read-only file system|No such file or directory)$`, "we only read; the folder is not there for gdbserver to write into"}},
	},
	{
		name:     "non-stop",
		commands: []string{"set non-stop on", "target remote PORT", "info threads"},
		shows:    []string{"non-stop", "No threads"},
		differs:  []difference{{`Remote refused setting non-stop|remote does not support non-stop`, "we do not offer it, so that gdb says so in its own words; the session before gdbserver refuses it"}},
	},
	{
		name:     "another inferior",
		commands: []string{"break tour::leaf", "continue", "add-inferior", "info inferiors", "remove-inferiors 2"},
		shows:    []string{"tour::leaf", "Added inferior 2"},
	},
}

func TestSideBySideGDB(t *testing.T) {
	for _, v := range gdbVersions(t) {
		for _, s := range gdbScripts {
			if v.name == "16" {
				if slices.Contains(gdb16Omits, s.name) {
					continue
				}
				s.differs = slices.Concat(s.differs, gdb16Differs[s.name], gdb16Differs[""])
			}
			t.Run(v.name+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				s.sideBySide(t, "gdb", v.use, "ENVOYSHIM_GDBSERVER="+v.server)
			})
		}
	}
}
