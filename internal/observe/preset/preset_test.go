package preset_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/observe/preset"
)

// What has no names is told by its system calls, and that is said.
func TestAdd(t *testing.T) {
	envoy := elfinfo.Info{Kind: elfinfo.Dynamic, Symbols: true}
	stripped := elfinfo.Info{Kind: elfinfo.Dynamic}
	golang := elfinfo.Info{Kind: elfinfo.Static, Symbols: true, Go: true}
	static := elfinfo.Info{Kind: elfinfo.Static, Symbols: true}
	for _, c := range []struct {
		name                   string
		program                elfinfo.Info
		points, syscalls, note string // parts of the names
	}{
		{"startup", envoy, "@main Envoy::MainCommon::main socket bind listen epoll_create epoll_create1", "", ""},
		{"startup", stripped, "@main Envoy::MainCommon::main socket bind listen epoll_create epoll_create1", "", ""},
		{"startup", golang, "@main Envoy::MainCommon::main", "socket bind listen epoll_create epoll_create1", "no libc"},
		{"syscalls", envoy, ".*OsSysCallsImpl.*", "", ""},
		{"syscalls", stripped, "", "bind ioctl close", "stripped"},
		{"epoll", stripped, "epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2", "", ""},
		{"listeners", static, "socket bind listen", "", ""},
	} {
		var order observe.Trace
		i := slices.IndexFunc(preset.All(), func(p preset.Preset) bool { return p.Name == c.name })
		note := preset.All()[i].Add(&order, c.program, func(name string) bool { return name != "writev" })
		var points []string
		for _, p := range order.Points {
			points = append(points, p.Name)
		}
		if got := strings.Join(points, " "); got != c.points {
			t.Errorf("%s in %+v: points %q, want %q", c.name, c.program, got, c.points)
		}
		if got := strings.Join(order.Syscalls, " "); !strings.HasPrefix(got, c.syscalls) || c.syscalls == "" && got != "" || slices.Contains(order.Syscalls, "writev") {
			t.Errorf("%s in %+v: system calls %q, want %q", c.name, c.program, got, c.syscalls)
		}
		if !strings.Contains(note, c.note) || c.note == "" && note != "" {
			t.Errorf("%s in %+v: it says %q, want %q", c.name, c.program, note, c.note)
		}
		if order.Threads != (c.name == "startup") {
			t.Errorf("%s: threads %t", c.name, order.Threads)
		}
	}
}

// Several add up, and what two name is told once.
func TestAddTwice(t *testing.T) {
	var order observe.Trace
	for _, p := range preset.All() {
		for range 2 {
			p.Add(&order, elfinfo.Info{Kind: elfinfo.Dynamic, Symbols: true}, func(string) bool { return true })
		}
	}
	seen := map[string]bool{}
	for _, p := range order.Points {
		if seen[p.Name] {
			t.Errorf("%s is told twice", p.Name)
		}
		seen[p.Name] = true
	}
}
