package script

import (
	"reflect"
	"strings"
	"testing"
)

// Lines that gdb 13 and 16 have written.
var miLines = []string{
	`(gdb) `,
	`5^connected`,
	`17^running`,
	`8^error,msg="Function \"nosuch\" not defined."`,
	`~"\tEntry point: 0x563de19e89f0\n"`,
	`*running,thread-id="all"`,
	`=library-loaded,id="/lib64/ld-linux-x86-64.so.2",symbols-loaded="0",thread-group="i1",ranges=[{from="0x00007f6207f7f060",to="0x00007f6207fa4111"}]`,
	`*stopped,reason="breakpoint-hit",disp="keep",bkptno="3",frame={addr="0x0000563de19eb258",func="Envoy::Api::OsSysCallsImpl::bind",args=[{name="this",value="0x7ffedca4c7af"},{name="fd",value="7"}],file="test/standin/standin.cc",fullname="/src/standin.cc",line="44",arch="i386:x86-64"},thread-id="1",stopped-threads="all"`,
	`15^done,stack=[frame={level="0",addr="0x0000563de19e9fd7",func="main"},frame={level="1",addr="0x00007f6207f3f977",func="??"}]`,
	`9^done,symbols={debug=[{filename="a.cc",symbols=[{line="44",name="a::b(int)",type="int (int)",description="int a::b(int);"}]}],nondebug=[{address="0x10",name="c"}]}`,
	`10^done,symbols={}`,
}

func TestRecordsOfGDB(t *testing.T) {
	r, err := parseMI(miLines[7])
	if err != nil {
		t.Fatal(err)
	}
	frame := r.get("frame")
	args := frame.get("args").fields
	if r.kind != '*' || r.class != "stopped" || r.str("bkptno") != "3" || frame.str("line") != "44" || len(args) != 2 || args[1].str("name") != "fd" || args[1].str("value") != "7" {
		t.Fatalf("%+v", r)
	}
	if r, err = parseMI(miLines[3]); err != nil || r.token != "8" || r.str("msg") != `Function "nosuch" not defined.` {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err = parseMI(`*stopped,frame={args=[{name="s",value="0x1 \"a\\tb, c}\\303\\251\\\\\""}]}`); err != nil || r.get("frame").get("args").fields[0].str("value") != `0x1 "a\tb, c}\303\251\\"` {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err = parseMI(`~"caf\303\251\n"`); err != nil || r.class != "café\n" {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err = parseMI(miLines[9]); err != nil || !reflect.DeepEqual(functionNames(r.get("symbols")), []string{"a::b(int)", "c"}) {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, line := range miLines {
		if _, err := parseMI(line); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// A line that is cut anywhere is no record, and says where.
func TestBrokenRecordsOfGDB(t *testing.T) {
	line := miLines[7]
	for n := len(`*stopped,`); n < len(line); n++ {
		r, err := parseMI(line[:n])
		if err == nil && line[n] != ',' {
			t.Fatalf("%s is taken for a record: %+v", line[:n], r)
		}
		if err != nil && !strings.Contains(err.Error(), "at byte ") {
			t.Fatal(err)
		}
	}
	if _, err := parseMI("*stopped,a=" + strings.Repeat("[", 1000)); err == nil {
		t.Fatal("without end")
	}
}

func TestNamesWithoutParameters(t *testing.T) {
	for name, want := range map[string]string{
		"main":                                    "main",
		"a::b(int, char const*)":                  "a::b",
		"a::b() const":                            "a::b",
		"a::operator()(int)":                      "a::operator()",
		"f(void (*)(int), int)":                   "f",
		"(anonymous namespace)::f(int)":           "(anonymous namespace)::f",
		"Envoy::Api::OsSysCallsImpl::bind(int)":   "Envoy::Api::OsSysCallsImpl::bind",
		"std::function<void (int)>::operator()()": "std::function<void (int)>::operator()",
	} {
		if got := withoutParameters(name); got != want {
			t.Errorf("%s: %s, not %s", name, got, want)
		}
	}
}

// No line makes the parser panic, and what it takes it takes whole: each byte of a text that was quoted comes back.
func FuzzMI(f *testing.F) {
	for _, line := range miLines {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		r, err := parseMI(line)
		if err == nil && r.kind != 0 {
			functionNames(r.value)
			threadID(r.class)
			if bare := withoutParameters(r.class); !strings.HasPrefix(r.class, bare) {
				t.Fatalf("%q of %q", bare, r.class)
			}
		}
		if strings.ContainsAny(line, "\r\n") {
			return
		}
		// Broken or not, the next line is read as ever.
		quoted, err := parseMI("7^error,msg=" + miQuoted(line))
		if err != nil || quoted.str("msg") != line {
			t.Fatalf("%q came back as %q, %v", line, quoted.str("msg"), err)
		}
	})
}
