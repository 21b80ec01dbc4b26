package test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// An lldbVersion is a client and the server that comes with it.
type lldbVersion struct{ name, client, server string }

// lldbVersions are lldb 19 and, where the distribution has it, lldb 14.
func lldbVersions(t testing.TB) []lldbVersion {
	t.Helper()
	list := []lldbVersion{{"19", "lldb-19", "/usr/bin/lldb-server-19"}}
	dir := cached(t, "lldb-14")
	if exists(filepath.Join(dir, "none")) {
		return list
	}
	return append(list, lldbVersion{"14", cached(t, "lldb-14/bin/lldb"), cached(t, "lldb-14/bin/lldb-server")})
}

// tourLines are places of the tour in commands: {line TEXT} stands for the number of the line with the text.
var tourLines = regexp.MustCompile(`\{line (.*?)\}`)

// use runs the commands after the connection, or instead of it where they connect by themselves, to {port}. {dir} is a
// directory for files.
func (v lldbVersion) use(t testing.TB, elf, port string, commands ...string) string {
	t.Helper()
	text := strings.Join(commands, "\n")
	if !strings.Contains(text, "{port}") {
		text = "gdb-remote {port}\n" + text
	}
	text = tourLines.ReplaceAllStringFunc(text, func(place string) string {
		return strconv.Itoa(tourLine(t, tourLines.FindStringSubmatch(place)[1]))
	})
	dir := t.TempDir()
	text = strings.NewReplacer("{port}", port, "{dir}", dir, "{cli}", cli(t), "{elf}", elf).Replace(text)
	file := filepath.Join(dir, "commands")
	must(t, os.WriteFile(file, []byte(text+"\n"), 0o600))
	// A file of commands, unlike those of a batch, goes on after a crash, which to lldb is any signal.
	// Unbuffered: errors are printed where they belong.
	out, _ := runAny(t, "stdbuf", "-o0", v.client, "-x", "-b", "-k", "quit", "-o", "settings set use-color false",
		"-o", "command source -e false -c false "+file, elf)
	return strings.NewReplacer(dir, "DIR", "(lldb) "+settle+"\n", "").Replace(out)
}

func TestSideBySideLLDB(t *testing.T) {
	for _, v := range lldbVersions(t) {
		scripts := lldbScripts
		if v.name == "19" {
			scripts = slices.Concat(lldbScripts, lldb19Scripts)
		}
		for _, s := range scripts {
			if v.name == "14" {
				s.differs = slices.Concat(s.differs, lldb14Differs)
			}
			t.Run(v.name+"/"+s.name, func(t *testing.T) {
				s.sideBySide(t, "lldb", v.use, "ENVOYSHIM_LLDB_SERVER="+v.server)
			})
		}
	}
}

// What lldb-server refuses on amd64 is shown with ours alone.
func TestLLDBBeyondItsServer(t *testing.T) {
	for _, v := range lldbVersions(t) {
		for _, s := range beyondScripts {
			t.Run(v.name+"/"+s.name, func(t *testing.T) {
				p := hold(t, "debug", fixture(t, "bin/test/tour"), s.args...)
				contains(t, v.use(t, fixture(t, "bin/test/tour"), p.port, s.commands...), s.shows...)
			})
		}
	}
}

// settle comes after commands that have another thread of lldb print, whenever it gets to it.
const settle = "script __import__('time').sleep(0.3)"

// In all scripts of lldb 14.
var lldb14Differs = []difference{
	{"signal SIG(SEGV|ILL|FPE): ", "ours describes faults in the words of lldb-server 19"},
	{"^ +[fg]s_base = |registers were unavailable", "lldb-server 14 does not tell fs_base and gs_base"},
}

// lldbScripts are for all versions.
var lldbScripts = []script{
	{
		name: "break by function, step out, detach",
		commands: []string{"breakpoint set --name tour::leaf", "continue", "bt", "thread step-out", "breakpoint delete -f",
			"process detach"},
		shows: []string{"tour::leaf", "tour::outer", "step out", "detached"},
	},
	{
		name: "break by file and line",
		commands: []string{"breakpoint set --file tour.cc --line {line counter += doubled}", "continue", "frame variable",
			"continue", "frame variable", "breakpoint list", "breakpoint delete -f", "continue"},
		shows: []string{"stop reason = breakpoint 1.1", "(int) doubled = 10", "(int) doubled = 12", "hit count = 2",
			"exited with status = 7"},
	},
	{
		name: "break by source pattern and by function pattern",
		commands: []string{"breakpoint set --source-pattern-regexp 'result \\+= 1' --file tour.cc",
			"breakpoint set --func-regex '^tour::(leaf|middle)'", "continue", "bt 2", "continue", "bt 2", "continue",
			"frame variable", "breakpoint list -b", "process detach"},
		shows: []string{"2 locations", "breakpoint 2", "breakpoint 2", "breakpoint 1.1", "result = 10", "detached"},
	},
	{
		name: "break by address",
		commands: []string{"breakpoint set -n main", "continue", "breakpoint set --address `(void*)&tour::factorial`",
			"continue", "bt 2", "continue", "bt 3", "memory read -c 4 `(void*)&tour::factorial`",
			"disassemble -n tour::factorial -c 3", "breakpoint delete -f", "continue"},
		shows: []string{"stop reason = breakpoint 2.1", "tour::factorial", "stop reason = breakpoint 2.1",
			"tour::factorial(n=5)", "55 48 89 e5", "pushq", "exited with status = 7"},
	},
	{
		name: "break in a library that is to come",
		args: []string{"signals"},
		commands: []string{"breakpoint set --shlib libc.so.6 --name raise", "breakpoint set --name no_such_function",
			"continue", "bt 3", "breakpoint list", "process detach"},
		shows: []string{"no locations (pending)", "__GI_raise(sig=10)", "tour::signals", "hit count = 1", "detached"},
	},
	{
		name: "break in a library that is opened later",
		args: []string{"plugin"},
		commands: []string{"breakpoint set --name td_init", "image list -b libthread_db.so.1", "continue", "bt 2",
			"image list -b libthread_db.so.1", "finish", "process detach"},
		shows: []string{"no locations (pending)", "libthread_db.so.1`td_init", "tour::plugin", "] libthread_db.so.1", "detached"},
	},
	{
		name: "stop when libraries come",
		args: []string{"plugin"},
		commands: []string{"settings set target.process.stop-on-sharedlibrary-events true", "continue", "continue",
			"image list -b", "continue", "continue", "continue"},
		shows: []string{"stop reason = shared-library-event", "libstdc++.so.6", "shared-library-event",
			"exited with status = 7"},
	},
	{
		name: "break once, by condition, after some hits",
		commands: []string{"breakpoint set --one-shot true --name tour::outer",
			"breakpoint set --name tour::leaf --condition 'n == 6'", "breakpoint set --name tour::factorial --ignore-count 3",
			"continue", "continue", "frame variable n", "continue", "frame variable n", "breakpoint list", "process detach"},
		shows: []string{"tour::outer", "breakpoint 2.1", "n = 6", "breakpoint 3.1", "n = 2", "hit count = 4", "detached"},
	},
	{
		name: "breakpoint commands",
		commands: []string{"breakpoint set --name tour::leaf --auto-continue true --command 'frame variable n'",
			"breakpoint set --name tour::factorial", "breakpoint command add 2 -o 'bt 1'",
			"target stop-hook add -o 'p tour::counter'", "continue", "continue", "breakpoint disable 2", "continue"},
		shows: []string{"factorial", "(int) n = 5", "(int) n = 6", "tour::factorial(n=5)", "22", "n=4", "exited with status = 7"},
	},
	{
		name: "disable and enable breakpoints",
		commands: []string{"breakpoint set -n tour::leaf", "breakpoint set -n tour::middle", "breakpoint disable 1", "continue",
			"continue", "breakpoint enable 1", "continue", "breakpoint modify -c 'n == 3' 1", "breakpoint delete 2", "continue",
			"frame variable n", "breakpoint list -v 1", "process detach"},
		shows: []string{"tour::middle(n=5)", "tour::middle(n=6)", "tour::leaf(n=6)", "(int) n = 3", "detached"},
	},
	{
		name:     "break where exceptions are thrown",
		args:     []string{"throw"},
		commands: []string{"breakpoint set -E c++ -w true -h true", "continue", "bt", "continue", "bt", "continue"},
		shows:    []string{"__cxa_throw", "tour::thrower", "tour::thrower", "exited with status = 7"},
	},
	{
		name: "breakpoints of one thread",
		args: []string{"threads"},
		commands: []string{"breakpoint set --thread-name wrk:2 -f tour.cc -l {line return nullptr;}",
			"breakpoint set -n tour::together", "continue", "breakpoint modify -t 1", "continue", "bt", "continue"},
		shows: []string{"tour::together", "name = 'wrk:2'", "tour::worker", "exited with status = 7"},
	},
	{
		name: "watch a variable being written",
		commands: []string{"watchpoint set variable tour::watched", "continue", "continue", "watchpoint list -v",
			"watchpoint delete -f", "continue"},
		shows: []string{"Watchpoint created", "old value: 0", "new value: 21", "stop reason = watchpoint 1", "new value: 42",
			"hit_count = 2", "exited with status = 7"},
	},
	{
		name: "watch a variable being read and written",
		commands: []string{"watchpoint set variable -w read_write tour::watched", "continue", "continue", "continue", "bt 1",
			"continue", "watchpoint list -v", "continue"},
		shows: []string{"Watchpoint created", "watchpoint 1", "watchpoint 1", "watchpoint 1", "tour::touch",
			"exited with status = 7"},
	},
	{
		name: "watch a variable being read",
		commands: []string{"watchpoint set variable -w read tour::watched", "continue", "continue", "watchpoint list -v",
			"process detach"},
		shows: []string{"type = r", "stop reason = watchpoint 1", "stop reason = watchpoint 1", "detached"},
	},
	{
		name: "watch with a condition, and by expression",
		commands: []string{"breakpoint set -n main", "continue", "watchpoint set variable tour::watched",
			"watchpoint modify -c 'tour::watched == 42'", "watchpoint set expression -s 4 -- &tour::counter",
			"watchpoint ignore -i 5 2", "continue", "watchpoint disable 2", "continue", "p tour::watched", "watchpoint list",
			"process detach"},
		shows: []string{"Watchpoint 2", "stop reason = watchpoint 2", "stop reason = watchpoint 1", "42", "detached"},
	},
	{
		name: "more watchpoints than debug registers, odd places",
		commands: []string{"breakpoint set -n main", "continue", "watchpoint set expression -s 8 -- &tour::table[0]",
			"watchpoint set expression -s 8 -- &tour::table[1]", "watchpoint set expression -s 8 -- &tour::table[2]",
			"watchpoint set expression -s 8 -- &tour::table[3]", "watchpoint set expression -s 8 -- &tour::table[4]",
			"watchpoint delete 1", "watchpoint set expression -s 2 -- (char*)&tour::counter+1", "continue", "watchpoint list",
			"process detach"},
		shows: []string{"Watchpoint 4", "error: Watchpoint creation failed", "Current watchpoints"},
	},
	{
		name: "watch what threads write",
		args: []string{"forever", "sleepers"},
		commands: []string{"watchpoint set variable tour::sleeping", "continue", "bt 1", "continue", "bt 1",
			"watchpoint disable", "breakpoint set -n tour::together", "continue", "process detach"},
		shows:   []string{"Watchpoint created", "tour::sleeper", "tour::together", "detached"},
		differs: []difference{{"^ *(old|new) value: ", "the value is a thread id"}},
	},
	{
		name: "step in, over, out",
		commands: []string{"breakpoint set -n tour::outer", "continue", "thread step-in", "thread step-in", "thread step-over",
			"thread step-over", "thread step-out", "thread step-over", "thread step-out",
			"thread step-in -e {line r += tour::loop}", "thread step-in", "process detach"},
		shows: []string{"tour::outer", "step in", "tour::middle", "step over", "tour::leaf", "step out", "detached"},
	},
	{
		name: "step instructions",
		commands: []string{"thread step-inst", "thread step-inst", "thread step-inst-over", "breakpoint set -n tour::middle",
			"continue", "thread step-inst-over -c 4", "thread step-inst", "register read rip rsp rflags", "thread step-out",
			"thread step-inst -c 10", "bt 1", "process detach"},
		shows: []string{"instruction step into", "_dl_start", "instruction step over", "tour::middle", "detached"},
	},
	{
		name: "step over system calls and signals",
		args: []string{"calls"},
		commands: []string{"breakpoint set -n tour::calls", "continue", "breakpoint set -n syscall", "continue",
			"thread step-inst -c 12", "disassemble -p -c 1", "thread step-inst", "register read rax rip", "thread step-out",
			"thread step-over", "breakpoint delete -f", "continue", "continue"},
		shows: []string{"tour::calls", "libc.so.6`syscall", "exited with status = 7"},
	},
	{
		name: "step over a breakpoint",
		commands: []string{"breakpoint set -n tour::outer", "breakpoint set -n tour::leaf", "continue", "thread step-over",
			"bt 3", "thread step-over", "thread step-out", "breakpoint disable 2", "thread step-out", "thread step-over",
			"bt 2", "process detach"},
		shows: []string{"tour::outer", "stop reason = breakpoint 2.1", "tour::leaf", "step over", "detached"},
	},
	{
		name: "until a line, to an address, jump",
		commands: []string{"breakpoint set -n tour::loop", "continue", "thread until {line return total;}", "frame variable",
			"breakpoint set -n tour::touch", "continue", "thread jump --by 1", "frame variable", "thread step-over",
			"p tour::watched", "breakpoint delete -f", "continue"},
		shows: []string{"tour::loop", "total = 90", "tour::touch", "seen = ", "exited with status = 7"},
	},
	{
		name: "finish, and values that are returned",
		commands: []string{"breakpoint set -n tour::factorial -c 'n == 2'", "continue", "bt", "finish", "finish",
			"breakpoint delete -f", "breakpoint set -n tour::named", "process detach"},
		shows: []string{"tour::factorial(n=5)", "Return value: (int) $0 = 2", "Return value: (int) $1 = 6", "detached"},
	},
	{
		name: "return early",
		commands: []string{"breakpoint set -n tour::leaf", "continue", "thread return 77", settle, "bt 1", "thread step-over",
			"thread step-over", "frame variable", "breakpoint delete -f", "continue"},
		shows: []string{"tour::leaf", "tour::middle", "result = 78", "exited with status = 7"},
	},
	{
		name: "change registers and variables",
		commands: []string{"breakpoint set -f tour.cc -l {line counter += doubled}", "continue", "frame variable doubled",
			"p doubled = 1000", "thread step-over", "p tour::counter", "register write rax 0x1122334455667788",
			"register read rax eax ax ah al", "register write ah 0", "register read rax", "register write rflags 0x203",
			"register read rflags", "register write rip `$rip`", "p n += 3", "memory write -s 4 `(long)&tour::counter` 0x10",
			"p tour::counter", "breakpoint delete -f", "finish", "process detach"},
		shows: []string{"doubled = 10", "1000", "(int) ", "1000", "rax = 0x1122334455667788", "eax = 0x55667788", "ax = 0x7788",
			"ah = 0x77", "al = 0x88", "rax = 0x1122334455660088", "rflags = 0x", "16", "detached"},
	},
	{
		name: "registers of all kinds",
		commands: []string{"register read", "register read --all", "breakpoint set -n tour::leaf", "continue", "register read",
			"register read -s 1", "register read -s 2", "register write xmm3 '{1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16}'",
			"register read xmm3 ymm3",
			"register write ymm4 '{1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32}'",
			"register read xmm4 ymm4", "register write st0 '{0 0 0 0 0 0 0 0x80 0xff 0x3f}'", "register read st0 ftag mm0",
			"register write mxcsr 0x1fa0", "register read mxcsr", "register write fctrl 0x27f", "register read fctrl -f b",
			"register read -f d rsp rbp", "thread step-inst", "register read xmm3 ymm4 st0 mxcsr fctrl",
			"register write nothing 1", "process detach"},
		shows: []string{"General Purpose Registers", "rip = ", "Floating Point Registers", "Advanced Vector", "detached"},
	},
	{
		name: "registers in frames",
		commands: []string{"breakpoint set -n tour::leaf", "continue", "frame select 1", "register read", "frame select -r 1",
			"register read rip rbp rsp", "frame info", "frame select 0", "frame variable", "process detach"},
		shows: []string{"frame #1", "rip = ", "frame #2", "detached"},
	},
	{
		name: "read memory in many ways",
		commands: []string{"breakpoint set -n tour::outer", "continue", "memory read -f d -s 8 -c 8 `(long)&tour::table`",
			"memory read -f s `(long)&tour::message`", "x/4gx &tour::table", "x/s &tour::message",
			"memory read -f f -s 8 -c 1 `(long)&tour::ratio`", "memory read -t tour::Point `(long)&tour::origin`",
			"memory read -f Y -c 40 `(long)&tour::message`", "memory read -f i -c 4 `$pc`",
			"memory read --outfile {dir}/out --binary -c 64 `(long)&tour::table`",
			"memory read -f x -s 4 -c 3 -l 1 `(long)&tour::table`",
			"memory find -s befo -- `(long)&tour::table` `(long)&tour::table+512`",
			"memory find -e 5 -- `(long)&tour::table` `(long)&tour::table+64`",
			"memory find -s nothere -- `(long)&tour::table` `(long)&tour::table+512`", "memory read 0",
			"memory read 0x7ffffffff000", "memory read -c 32 `(long)&tour::leaf`", "process detach"},
		shows: []string{"8", "before", "0x0000000000000001", "1.5", "x = 3", "64 bytes written", "data found", "data found",
			"data not found", "error: ", "detached"},
	},
	{
		name: "write memory",
		commands: []string{"breakpoint set -n tour::outer", "breakpoint set -n tour::leaf", "continue",
			"memory write -s 8 `(long)&tour::table` 17 18", "memory read -f d -s 8 -c 3 `(long)&tour::table`",
			"memory write -f s `(long)&tour::message` after", "x/s &tour::message", "memory write 0x10 1",
			"memory write `(long)&tour::leaf` 0x90", "memory read -c 4 `(long)&tour::leaf`",
			"memory write `(long)&tour::leaf` 0x55", "memory write `(long)&tour::leaf + 4` 0x90",
			"memory read -c 6 `(long)&tour::leaf`", "memory write `(long)&tour::leaf + 4` 0x89",
			"memory write `(long)&main` 0x55", "continue", "thread step-inst -c 3", "bt 2", "breakpoint delete -f", "continue"},
		shows: []string{"17", "18", "after", "error: ", "90 ", "breakpoint 2.1", "exited with status = 7"},
	},
	{
		name: "memory regions",
		commands: []string{"memory region 0", "breakpoint set -n tour::outer", "continue", "memory region `(long)&tour::leaf`",
			"memory region `(long)&tour::table`", "memory region `$sp`", "memory region 0x7ffffffff000",
			"memory region 0xffffffffff600000", "memory region --all", "process detach"},
		shows: []string{"[0x0000000000000000-0x0000555555554000) ---", "r-x", "rw-", "[stack]", "detached"},
	},
	{
		name: "modules and their sections",
		commands: []string{"image list", "breakpoint set -n tour::outer", "continue", "image list -o -f -u -t",
			"image lookup -a `$pc`", "image lookup -n tour::leaf", "image lookup -t tour::Point", "image lookup -va `$pc`",
			"image dump sections tour", "target modules lookup -s environ", "image show-unwind -n tour::leaf",
			"target modules list -h libc.so.6", "source info", "process detach"},
		shows: []string{"tour", "ld-linux-x86-64.so.2", "libstdc++.so.6", "tour::outer", "tour::leaf", "struct Point", ".text",
			"detached"},
	},
	{
		name: "variables of many types",
		args: []string{"containers"},
		commands: []string{"breakpoint set -f tour.cc -l {line counter += static_cast<int>(text}", "continue", "frame variable",
			"frame variable -L text", "frame variable -T -F numbers", "frame variable ports['x'] numbers[1]",
			"frame variable -d run -P 1 shape", "p numbers.size()", "p text", "target variable tour::origin tour::ratio",
			"p shape->area()", "frame variable *shape.get()", "process detach"},
		shows: []string{"hello, envoy", "[2] = 3", "15000", "15090", "x = 3", "(double)", "detached"},
	},
	{
		name: "expressions",
		commands: []string{"breakpoint set -n tour::touch", "continue", "p tour::called(1, 2)", "expression int $x = 20",
			"expression $x + n", "expression tour::Point $p = {8, 9}; $p", "p $p.x * $p.y", "expression tour::named($p)",
			"expression for (int i = 0; i < 3; i++) tour::table[i] = 0; tour::table[3]", "p tour::table",
			"expression -f hex -- 255", "expression char $buffer[64]; &$buffer[0]",
			"p (int)sprintf($buffer, \"%d-%s\", 5, \"five\")", "p (char*)$buffer", "p *(int*)0", "p tour::factorial(10)",
			"expression std::string $s = \"text\"", "p $rip", "p no_such_thing", "bt 1", "process detach"},
		shows: []string{"12", "41", "x = 8, y = 9", "72", "\"far\"", "[0] = 0", "5-five", "3628800", "detached"},
	},
	{
		name: "expressions that fault",
		args: []string{"throw"},
		commands: []string{"breakpoint set -n tour::thrower", "continue", "breakpoint set -n tour::leaf", "p tour::leaf(3)",
			"expression tour::crash()", "bt 1", "expression (int)raise(10)", "bt 1", "breakpoint delete -f", "continue"},
		shows: []string{"tour::thrower", "(int) ", "6", "signal SIGSEGV: ", "fault address: 0x10",
			"returned to the state before", "signal SIGUSR1", "exited with status = 7"},
	},
	{
		name: "expressions that stop on their way",
		args: []string{"throw"},
		commands: []string{"process handle SIGSEGV -p false -s true", "breakpoint set -n tour::thrower", "continue",
			"breakpoint set -n tour::leaf", "expression -i false -- tour::leaf(3)", settle, "bt 2", "thread step-out", "bt 1",
			"thread return -x", settle, "bt 1", "expression -u false -- tour::crash()", settle, "bt 2", "thread return -x",
			settle, "bt 1", "breakpoint delete -f", "continue"},
		shows:   []string{"tour::thrower", "breakpoint 2.1", "tour::leaf(n=3)", "step out", "exited with status = 7"},
		differs: []difference{{"^error: Execution was interrupted|^The process has been left at the point", "lldb prints the error and the stop by two threads"}},
	},
	{
		name: "faults of many kinds",
		args: []string{"crash"},
		commands: []string{"process handle SIGSEGV SIGILL SIGFPE SIGTRAP -p false -s true", "continue",
			"register write rax 0x1122334455667788", "continue", "register write rax `(long)&tour::leaf`", "continue",
			"memory write `$pc` 0x0f 0x0b", "continue", "memory write `$pc` 0xf7 0xf1", "register write rcx 0", "continue",
			"thread info", "memory write `$pc` 0xcc 0x90", "continue", "process detach"},
		shows: []string{"signal SIGSEGV", "signal SIGSEGV", "signal SIGSEGV", "signal SIGILL", "signal SIGFPE",
			"signal SIGTRAP", "detached"},
	},
	{
		name: "a call in another thread",
		args: []string{"forever", "sleepers"},
		commands: []string{"breakpoint set -n tour::together", "continue", "script lldb.process.SetSelectedThreadByIndexID(3)",
			"p (int)gettid() != (int)getpid()", "p tour::called(1, 2)", "bt", "register read rip rsp rax",
			"script lldb.process.SetSelectedThreadByIndexID(1)", "p tour::called(3, 4)", "process detach"},
		shows: []string{"tour::together", "(bool) ", "true", "12", "tour::sleeper", "34", "detached"},
	},
	{
		name: "expressions that throw",
		args: []string{"forever"},
		commands: []string{"breakpoint set -n tour::forever", "continue", "p tour::thrower()", "p tour::message",
			"p std::__throw_bad_alloc()", "bt 1", "process detach"},
		shows: []string{"Execution was interrupted", "tour::forever", "detached"},
	},
	{
		name: "disassemble",
		commands: []string{"disassemble -p -c 4", "disassemble -n tour::leaf -b", "breakpoint set -n tour::leaf", "continue",
			"disassemble -a `(long)&tour::middle`", "disassemble -f", "disassemble -l", "disassemble -s `$pc` -e `$pc+12`",
			"disassemble -m -n tour::factorial", "process detach"},
		shows: []string{"_start", "tour::leaf", "tour::middle", "->", "retq", "detached"},
	},
	{
		name: "threads",
		args: []string{"forever", "sleepers"},
		commands: []string{"breakpoint set -n tour::together", "continue", "thread list", "bt all",
			"script lldb.process.SetSelectedThreadByIndexID(3)", "bt", "thread info", "thread info 2", "p tour::mine",
			"register read rip rsp rax", "script lldb.process.SetSelectedThreadByIndexID(4)", "p tour::mine",
			"frame select -r 1", "thread backtrace unique", "script lldb.process.SetSelectedThreadByIndexID(1)", "p tour::mine",
			"thread step-over -m this-thread", "thread step-out -m this-thread", "process detach"},
		shows: []string{"tour::together", "slp:0", "slp:1", "slp:2", "tour::sleeper", "thread #3", "step over", "detached"},
	},
	{
		name: "threads come and go",
		args: []string{"threads"},
		commands: []string{"breakpoint set -n tour::together", "continue", "thread step-out", "breakpoint set -n exit",
			"continue", "thread list", "breakpoint delete -f", "continue"},
		shows: []string{"tour::together", "__GI_exit(status=7)", "exited with status = 7"},
	},
	{
		name: "signals stop",
		args: []string{"signals"},
		commands: []string{"process handle SIGRTMIN+2 -s true -n true", "continue", "bt", "thread info", "continue", "continue",
			"process status", "continue"},
		shows: []string{"stop reason = signal SIGUSR1", "raise", "tour::signals", "signal SIGUSR2", "signal SIGRTMIN+2",
			"exited with status = 7"},
	},
	{
		name: "signals pass by",
		args: []string{"signals"},
		commands: []string{"process handle SIGUSR1 -s false -n true -p true",
			"process handle SIGUSR2 -s false -n false -p true", "process handle SIGRTMIN+2 -s true -p false",
			"breakpoint set -n tour::handler", "continue", "bt", "p sig", "finish", "continue", "breakpoint set -n exit",
			"continue", "p (int)tour::handled", "process handle SIGUSR1 SIGUSR2 SIGRTMIN+2", "continue"},
		shows: []string{"NAME", "tour::handler(sig=", "__GI_raise(sig=10)", "SIGRTMIN+2", "exit", "10", "exited with status = 7"},
	},
	{
		name: "step into a signal handler",
		args: []string{"signals"},
		commands: []string{"continue", "thread step-inst", "bt", "thread step-inst", "thread step-out", "thread step-out",
			"thread step-out", "thread step-over", "process detach"},
		shows:   []string{"signal SIGUSR1", "tour::handler", "detached"},
		differs: []difference{{"frame #0: 0x[0-9a-f]+ tour`tour::handler", "lldb-server passes over the stop before the first instruction of a handler"}},
	},
	{
		name: "step over a signal",
		args: []string{"signals"},
		commands: []string{"breakpoint set -n tour::handler", "process handle SIGUSR1 -s false",
			"breakpoint set -f tour.cc -l {line raise(SIGUSR1)}", "continue", "thread step-over", "bt 1", "thread step-out",
			"thread step-over", "process detach"},
		shows: []string{"breakpoint 2.1", "tour::handler", "detached"},
	},
	{
		name: "signals from others",
		args: []string{"forever"},
		commands: []string{"script import os; pid = lldb.process.GetProcessID()", "breakpoint set -n tour::forever", "continue",
			"script os.kill(pid, 12)", "continue", "bt 2", "script os.kill(pid, 15)", "script os.kill(pid, 10)",
			"process handle SIGUSR2 -p false", "continue", "continue", "continue"},
		shows: []string{"tour::forever", "signal SIGUSR2", "signal SIG", "exited with status = "},
	},
	{
		name: "crash",
		args: []string{"crash"},
		commands: []string{"continue", "bt", "register read rax rip", "process status", "image lookup -a `$pc`", "p *nowhere",
			"p nowhere", "continue"},
		shows: []string{"stop reason = signal SIGSEGV", "tour::crash", "rax = 0x0000000000000010", "exited with status = 11"},
	},
	{
		name:     "abort",
		args:     []string{"abort"},
		commands: []string{"continue", "bt", "continue", "process status"},
		shows:    []string{"stop reason = signal SIGABRT", "abort", "main", "exited with status = 6"},
	},
	{
		name: "past a crash",
		args: []string{"crash"},
		commands: []string{"continue", "p nowhere = &tour::watched", "register write rax `(long)&tour::watched`",
			"process handle SIGSEGV -p false", "continue", "p tour::watched"},
		shows: []string{"stop reason = signal SIGSEGV", "exited with status = 7"},
	},
	{
		name: "exec",
		args: []string{"exec"},
		commands: []string{"breakpoint set -n tour::leaf", "continue", "bt", "image list -b", "continue", "bt 2",
			"frame variable", "breakpoint list", "continue"},
		shows: []string{"stop reason = exec", "_start", "tour::leaf(n=2)", "exited with status = 7"},
	},
	{
		name: "fork",
		args: []string{"fork"},
		commands: []string{"breakpoint set -n tour::leaf", "breakpoint set -n _exit", "continue", "bt 2", "p tour::counter",
			"breakpoint delete -f", "continue"},
		shows: []string{"tour::leaf(n=1)", " 3", "exited with status = 7"},
	},
	{
		name: "vfork",
		args: []string{"vfork"},
		commands: []string{"breakpoint set -n tour::leaf", "watchpoint set variable tour::counter", "continue", "continue",
			"bt 2", "p tour::counter", "breakpoint delete -f", "watchpoint delete -f", "continue"},
		shows: []string{"tour::leaf(n=1)", "exited with status = 7"},
	},
	{
		name: "detach and come back",
		args: []string{"forever"},
		commands: []string{"gdb-remote {port}", "script pid = lldb.process.GetProcessID()", "breakpoint set -n tour::forever",
			"continue", "process detach", settle,
			"script while not open('/proc/%d/syscall' % pid).read().startswith('34 '): pass",
			"platform shell until {cli} status --json | grep -q '\"running\"'; do sleep 0.02; done", "gdb-remote {port}", "bt",
			"breakpoint list -b", "process detach"},
		shows: []string{"tour::forever", "detached", "libc.so.6`", "tour::forever", "detached"},
	},
	{
		name:     "kill",
		args:     []string{"forever"},
		commands: []string{"breakpoint set -n tour::forever", "continue", "process kill", settle, "process status"},
		shows:    []string{"tour::forever", "exited with status = 9"},
	},
	{
		name:     "quit",
		args:     []string{"forever"},
		commands: []string{"breakpoint set -n tour::forever", "continue", "quit"},
		shows:    []string{"tour::forever", "quit"},
	},
	{
		name: "no local copy of the program",
		commands: []string{"target delete --all", "gdb-remote {port}", "image list", "breakpoint set -n tour::leaf", "continue",
			"bt", "image list", "process detach"},
		shows: []string{"tour", "tour::leaf", "detached"},
	},
	{
		name: "modules from the target",
		commands: []string{"target delete --all", "platform select remote-linux --sysroot {dir}", "target create {elf}",
			"gdb-remote {port}", "image list", "breakpoint set -n tour::outer", "continue", "bt 2", "image list",
			"process detach"},
		shows: []string{"Sysroot: DIR", "stop reason = breakpoint 1.1", "libstdc++.so.6",
			"/usr/lib/x86_64-linux-gnu/libc.so.6", "detached"},
	},
	{
		name: "a core of the process",
		args: []string{"forever", "sleepers"},
		commands: []string{"breakpoint set -n tour::together", "continue",
			"process save-core --plugin-name=minidump --style=stack {dir}/core", "process detach", settle,
			"target create --core {dir}/core", "thread list", "bt", "script lldb.process.SetSelectedThreadByIndexID(2)", "bt 3"},
		shows: []string{"tour::together"},
	},
	{
		name: "packets by hand",
		commands: []string{"process plugin packet send QThreadSuffixSupported", "process plugin packet send qEcho:abc",
			"process plugin packet send qShlibInfoAddr", "process plugin packet send vMustReplyEmpty",
			"process plugin packet send bs", "process plugin packet send bc",
			"process plugin packet send qWatchpointSupportInfo:", "process plugin packet send qXfer:auxv:read::1000,10",
			"process plugin packet send vFile:exists:2f6574632f706173737764",
			"process plugin packet send vFile:exists:2f6e6f6e65",
			"process plugin packet send vFile:mode:2f6574632f706173737764", "process detach"},
		shows: []string{"packet: QThreadSuffixSupported", "response: OK", "F,1", "F,0", "detached"},
	},
}

// lldb19Scripts are of what lldb 14 does not have.
var lldb19Scripts = []script{
	{
		name: "siginfo",
		args: []string{"signals"},
		commands: []string{"process handle SIGRTMIN+2 -s true", "continue", "thread siginfo", "continue", "continue",
			"thread siginfo", "process detach"},
		shows: []string{"si_signo = 10", "si_signo = 36", "detached"},
	},
	{
		name: "siginfo of crashes and of traps",
		args: []string{"crash"},
		commands: []string{"breakpoint set -n tour::crash", "continue", "thread siginfo", "thread step-inst", "thread siginfo",
			"continue", "thread siginfo", "continue"},
		shows: []string{"si_signo = 5", "si_signo = 11", "si_addr = 0x0000000000000010", "exited with status = 11"},
	},
	{
		name: "watch a variable being modified",
		commands: []string{"watchpoint set variable -w modify tour::counter", "watchpoint set variable -w write tour::watched",
			"continue", "continue", "watchpoint disable 1", "continue", "watchpoint list -v", "process detach"},
		shows: []string{"Watchpoint created", "new value: 10", "new value: 22", "new value: 21", "detached"},
	},
	{
		name: "watch large things and locals",
		commands: []string{"breakpoint set -n main", "continue", "watchpoint set expression -s 32 -- &tour::table",
			"watchpoint list -v", "watchpoint delete -f", "breakpoint set -n tour::loop", "continue", "thread step-over",
			"watchpoint set variable total", "continue", "continue", "bt 1", "continue", "watchpoint list -v", "process detach"},
		shows: []string{"Watchpoint created", "tour::loop", "new value: 2", "detached"},
	},
	{
		name: "thread-local variables",
		args: []string{"forever", "sleepers"},
		commands: []string{"breakpoint set -n tour::together", "continue", "p tour::mine", "script lldb.process.SetSelectedThreadByIndexID(3)",
			"p tour::mine", "process detach"},
		shows: []string{"(int) 7", "(int) 201", "detached"},
	},
	{
		name: "fork, following the parent",
		args: []string{"fork"},
		commands: []string{"settings set target.process.stop-on-exec true",
			"settings set target.process.follow-fork-mode parent", "process handle SIGCHLD -n false", "breakpoint set -n tour::forks",
			"breakpoint set -n tour::leaf", "continue", "thread step-over", "thread step-over", "continue", "bt 2", "continue"},
		shows: []string{"tour::forks", "tour::leaf(n=1)", "exited with status = 7"},
	},
}

var beyondScripts = []script{
	{
		name: "hardware breakpoints",
		commands: []string{"breakpoint set --hardware --name tour::leaf", "breakpoint set --hardware --name tour::factorial",
			"breakpoint list", "continue", "bt 2", "continue", "thread step-inst", "breakpoint delete 1 -f", "continue", "bt 2",
			"thread step-over", "thread step-over", "breakpoint delete -f", "continue", "continue"},
		shows: []string{"hardware", "stop reason = breakpoint 1.1", "tour::middle(n=5)", "breakpoint 1.1",
			"instruction step into", "breakpoint 2.1", "factorial(n=5)", "exited with status = 7"},
	},
	{
		name: "more hardware breakpoints than debug registers",
		commands: []string{"breakpoint set -H -n tour::leaf", "breakpoint set -H -n tour::middle",
			"breakpoint set -H -n tour::outer", "breakpoint set -H -n tour::loop", "breakpoint set -H -n tour::touch",
			"continue", "continue", "breakpoint list -b", "process detach"},
		shows: []string{"tour::outer", "tour::middle", "detached"},
	},
	{
		name: "a hardware and a software breakpoint at one place",
		commands: []string{"breakpoint set -H -n tour::leaf", "breakpoint set -n tour::leaf", "continue", "continue",
			"thread step-inst", "breakpoint list -b", "process detach"},
		shows: []string{"stop reason = breakpoint 1.1", "stop reason", "instruction step into", "detached"},
	},
	{
		name: "detach and stay stopped",
		args: []string{"forever"},
		commands: []string{"gdb-remote {port}", "breakpoint set -n tour::forever", "continue",
			"process detach --keep-stopped true",
			"platform shell until {cli} status --json | grep -q '\"held\"'; do sleep 0.02; done", "gdb-remote {port}", "bt",
			"thread step-inst", "process detach"},
		shows: []string{"tour::forever", "detached", "tour::forever", "detached"},
	},
}
