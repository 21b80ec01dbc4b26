package script

import (
	"reflect"
	"strings"
	"testing"

	"github.com/envoyshim/envoyshim/internal/observe"
)

// What lldb 19 has written, with | for the separator and ~ for the end.
var lldbStop = strings.Split(strings.NewReplacer("|", fieldSign, "~", endSign).Replace(`Process 8730 stopped
* S|1|8730|standin|breakpoint 1.1 4.2~
  * F|0x0000559fcf32efd7|/bin/standin|main| + 15|/src/standin.cc:250|main(argc=3, argv=0x00007ffcfc8caa18)|0x7ffc|0x2a~
    F|0x00007f402d84524a|/lib/libc.so.6|__libc_start_call_main| + 122|sysdeps/nptl/libc_start_call_main.h:58|__libc_start_call_main(main=(standin`+"`"+`main at standin.cc:249:33), argc=3)|0x7ffc|0x2a~
    F|0x00007f402de186a5|/lib/libevent-2.1.so.7|___lldb_unnamed_symbol1304| + 37||___lldb_unnamed_symbol1304|0x7ffc|0x2a~
  S|2|8731|wrk:worker_0|breakpoint 5.1~
    F|0x00007f402d927bef|/lib/libc.so.6|epoll_create1| + 15||epoll_create1|0x7ffc|0x2a~`), "\n")

func TestRecordsOfLLDB(t *testing.T) {
	threads, errs := parseStop(lldbStop)
	if len(errs) != 0 || len(threads) != 2 {
		t.Fatalf("%+v, %v", threads, errs)
	}
	th := threads[0]
	if !th.selected || th.tid != 8730 || th.name != "standin" || th.sp != 0x7ffc || th.result != 42 || !reflect.DeepEqual(th.breakpoints, []string{"1.1", "4.2"}) {
		t.Fatalf("%+v", th)
	}
	if want := []observe.Arg{{Name: "argc", Value: "3"}, {Name: "argv", Value: "0x00007ffcfc8caa18"}}; !reflect.DeepEqual(th.args, want) {
		t.Fatalf("%+v", th.args)
	}
	want := []observe.Frame{
		{PC: 0x559fcf32efd7, File: "/bin/standin", Function: "main", Offset: 15, Source: "/src/standin.cc:250"},
		{PC: 0x7f402d84524a, File: "/lib/libc.so.6", Function: "__libc_start_call_main", Offset: 122, Source: "sysdeps/nptl/libc_start_call_main.h:58"},
		{PC: 0x7f402de186a5, File: "/lib/libevent-2.1.so.7"},
	}
	if !reflect.DeepEqual(th.frames, want) {
		t.Fatalf("%+v", th.frames)
	}
	if threads[1].selected || threads[1].name != "wrk:worker_0" {
		t.Fatalf("%+v", threads[1])
	}
}

// A broken line costs itself only.
func TestBrokenRecordsOfLLDB(t *testing.T) {
	for _, breakIt := range []func(string) string{
		func(l string) string { return l[:len(l)-9] },
		func(l string) string { return strings.Replace(l, fieldSign, "", 1) },
		func(l string) string { return strings.Replace(l, "0x", "?", 1) },
	} {
		lines := append([]string(nil), lldbStop...)
		lines[3] = breakIt(lines[3])
		threads, errs := parseStop(lines)
		if len(threads) != 2 || len(threads[0].frames) != 2 || len(threads[1].frames) != 1 || len(errs) > 1 {
			t.Errorf("%q: %+v, %v", lines[3], threads, errs)
		}
	}
}

func TestArgumentsOfLLDB(t *testing.T) {
	for _, test := range []struct {
		name, call string
		want       []observe.Arg
	}{
		{"f", `f()`, nil},
		{"f", `int f<int>(a=1)`, nil}, // another function's
		{"f", `int f(a=1)`, []observe.Arg{{Name: "a", Value: "1"}}},
		{"a::f", `a::f(s="x, \"y\")", t={ b = 1, c = 2 }, u='(')`, []observe.Arg{{Name: "s", Value: `"x, \"y\")"`}, {Name: "t", Value: "{ b = 1, c = 2 }"}, {Name: "u", Value: "'('"}}},
		{"f", `f(int, char)`, nil},
		{"f", `f(a=<unavailable>, b="no end`, nil},
	} {
		if got := callArguments(test.name, test.call); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v", test.call, got)
		}
	}
}

// No output makes the parser panic, and what follows is read as ever.
func FuzzLLDBStop(f *testing.F) {
	f.Add(strings.Join(lldbStop, "\n"))
	f.Add("S" + fieldSign + endSign)
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		before, broken := parseStop(lines)
		for _, th := range distinct(before) {
			hitBreakpoints(th.reason)
		}
		after, errs := parseStop(append(lines, lldbStop...))
		if len(errs) != len(broken) || len(after) != len(before)+2 || len(after[len(before)].frames) != 3 {
			t.Fatalf("%+v, %v", after, errs)
		}
	})
}
