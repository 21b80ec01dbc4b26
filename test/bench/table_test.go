//go:build linux

package main

import (
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		samples []float64
		want    float64
	}{
		{[]float64{3}, 3},
		{[]float64{5, 1, 3}, 3},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(c.samples); got != c.want {
			t.Errorf("median of %v is %v", c.samples, got)
		}
	}
	samples := []float64{5, 1, 3}
	median(samples)
	if samples[0] != 5 || least(samples) != 1 || most(samples) != 5 {
		t.Errorf("%v: min %v, max %v", samples, least(samples), most(samples))
	}
}

func TestRounded(t *testing.T) {
	for x, want := range map[float64]float64{0: 0, 12.3456: 12.35, 123456: 123500, 0.0012344: 0.001234, -5.55555: -5.556} {
		if got := rounded(x); got != want {
			t.Errorf("%v rounded is %v", x, got)
		}
	}
}

func TestVerdicts(t *testing.T) {
	row := rowSamples{Name: "r", Series: []series{
		{"c", "base", "ms", []float64{10, 10, 10}},
		{"c", "fast", "ms", []float64{12, 11, 13}},
		{"c", "slow", "ms", []float64{30, 20, 25}},
		{"c", "lucky", "ms", []float64{12, 40, 40}},
		{"c", "never", yes, []float64{1, 0, 1}},
		{"c", "always", yes, []float64{1, 1, 1}},
		{"c", "idle", "ticks", []float64{0, 0}},
	}}
	for _, c := range []struct {
		claim
		want verdict
	}{
		{claim{"c", "fast", "slow", "", goal{}}, verdict{"0.55", "0.48", "", false}},
		{claim{"c", "fast", "slow", "base", goal{atMost, 0.25}}, verdict{"0.10", "0.13", "at most 0.25", true}},
		{claim{"c", "slow", "fast", "", goal{atMost, 1}}, verdict{"1.82", "2.08", "at most 1", false}},
		{claim{"c", "lucky", "slow", "", goal{atMost, 1}}, verdict{"0.60", "1.60", "at most 1", false}}, // best only
		{claim{"c", "fast", "slow", "", goal{atLeast, 0.4}}, verdict{"0.43", "0.48", "at least 0.4", true}},
		{claim{"c", "fast", "slow", "", goal{atLeast, 0.45}}, verdict{"0.43", "0.48", "at least 0.45", false}},
		{claim{"c", "idle", "", "", goal{never, 0}}, verdict{"max 0", "0", "never more than 0", true}},
		{claim{"c", "fast", "", "", goal{never, 12}}, verdict{"max 13", "12", "never more than 12", false}},
		{claim{"c", "always", "", "", goal{always, 1}}, verdict{"3 of 3", "3 of 3", "always", true}},
		{claim{"c", "never", "", "", goal{always, 1}}, verdict{"2 of 3", "2 of 3", "always", false}},
	} {
		got, err := c.judge(row)
		if err != nil || got != c.want {
			t.Errorf("%+v: %+v, %v; want %+v", c.claim, got, err, c.want)
		}
	}
	for _, c := range []claim{
		{"c", "fast", "gone", "", goal{atMost, 1}},
		{"other", "fast", "slow", "", goal{atMost, 1}},
		{"c", "fast", "base", "base", goal{atMost, 1}}, // nothing left to compare with
	} {
		if v, err := c.judge(row); err == nil {
			t.Errorf("%+v: %+v", c, v)
		}
	}
}

func TestTheTableSaysWhatIsNotReached(t *testing.T) {
	page, err := sample().render()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| machine | C, 2 cores,  |",
		"0 reached, 1 not reached.",
		"| off | a program that only exits | envoyshim | dash wrapper, both less direct | 0.50 | 0.50 | at most 0.25 | **not reached** |",
		"| a program that only exits | direct | 3 | 10 | 11 | 12 | µs |",
		"| a program that only exits | envoyshim | bash wrapper, both less direct | 0.25 | 0.25 |",
		"\na\nb\n",
		"Measured D, envoyshim at commit abc.",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
}

func TestPhases(t *testing.T) {
	got, err := phases(`
             env     8   100.000500: raw_syscalls:sys_enter: NR 59 (1, 2, 3, 4, 5, 6)
           envoy     8   100.001000: sched:sched_process_exec: filename=./envoy pid=8 old_pid=8
           envoy     8   100.001100: raw_syscalls:sys_enter: NR 14 (0, 0, 9f6d98, 8, 0, 9f6d98)
           envoy     9   100.001200: raw_syscalls:sys_enter: NR 14 (0, 0, 9f6d98, 8, 0, 9f6d98)
       envoyshim    44   100.003500: raw_syscalls:sys_enter: NR 101 (4206, 8, 0, 10, 0, 0)
          worker    45   100.003600: signal:signal_deliver: sig=17 errno=0 code=4 sa_handler=490280 sa_flags=1c000004
           probe     8   100.004000: signal:signal_deliver: sig=19 errno=0 code=0 sa_handler=0 sa_flags=0
`)
	want := `      0.000  exec of envoy                   0 calls,  0 threads
      2.500  PTRACE_SEIZE                    3 calls,  3 threads
      3.000  SIGSTOP delivered: held         0 calls,  0 threads`
	if err != nil || got != want {
		t.Errorf("%v\n%s", err, got)
	}
}

func TestChoose(t *testing.T) {
	all, err := choose("")
	if err != nil || len(all) != len(rows) {
		t.Errorf("%d rows, %v", len(all), err)
	}
	some, err := choose("held,off")
	if err != nil || len(some) != 2 || some[0].name != "held" {
		t.Errorf("%d rows, %v", len(some), err)
	}
	if _, err := choose("held,ofg"); err == nil {
		t.Error("a row that does not exist was chosen")
	}
}
