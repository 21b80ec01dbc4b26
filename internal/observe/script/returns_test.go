package script

import (
	"slices"
	"testing"

	"github.com/envoyshim/envoyshim/internal/observe"
)

// Recursion, another thread at the same place, and a call that an exception has left.
func TestReturns(t *testing.T) {
	made := func(name string, tid int, sp, address uint64) call {
		return call{event: observe.Event{Function: name, TID: tid}, sp: sp, address: address}
	}
	r := returns{
		pending: []call{made("outer", 1, 900, 10), made("inner", 1, 800, 20), made("other", 2, 500, 20), made("innermost", 1, 700, 20)},
		numbers: map[uint64]string{10: "b10", 20: "b20"},
	}
	for _, step := range []struct {
		tid         int
		address, sp uint64
		want        string
		idle        []string
	}{
		{1, 20, 700, "", nil}, // a call that is not told returns there, deeper
		{1, 20, 708, "innermost", nil},
		{1, 10, 908, "outer", nil}, // inner was left
		{1, 20, 1000, "", nil},
		{2, 20, 508, "other", []string{"b20"}},
	} {
		c, ok, idle := r.returned(step.tid, step.address, step.sp)
		if c.event.Function != step.want || ok != (step.want != "") {
			t.Errorf("%+v: %q", step, c.event.Function)
		}
		if step.address == 10 {
			step.idle = []string{"b10"}
		}
		if !slices.Equal(idle, step.idle) {
			t.Errorf("%+v: idle %q", step, idle)
		}
	}
}

func TestResults(t *testing.T) {
	for _, test := range []struct {
		function string
		register uint64
		want     string
	}{
		{"int (int)", 0xdeadbeefffffffff, "-1"},
		{"int (int)", 7, "7"},
		{"void (int)", 7, ""},
		{"bool ()", 0x7fffffffff00, "false"},
		{"char *(int)", 0x7fffffffff00, "0x7fffffffff00"},
		{"std::string (int)", 0x7fffffffff00, ""},
		{"<unknown return type> ()", 0xffffffff, "-1"},
		{"<unknown return type> ()", 0xffffffffffffffff, "-1"},
		{"ssize_t (int)", 4096, "4096"},
		{"", 0x7fffffffff00, "0x7fffffffff00"},
	} {
		if got := resultText(resultType(test.function), test.register); got != test.want {
			t.Errorf("%s, %#x: %q, not %q", test.function, test.register, got, test.want)
		}
	}
}
