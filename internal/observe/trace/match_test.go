package trace

import (
	"testing"

	"github.com/envoyshim/envoyshim/internal/observe"
)

// The hint may only leave out what does not match.
func TestMatch(t *testing.T) {
	for _, c := range []struct {
		point   string
		regexp  bool
		raw     string
		matches bool
	}{
		{"Envoy::MainCommon::main", false, "_ZN5Envoy10MainCommon4mainEiPPc", true},
		{"MainCommon::main", false, "_ZN5Envoy10MainCommon4mainEiPPc", false},
		{"_ZN5Envoy10MainCommon4mainEiPPc", false, "_ZN5Envoy10MainCommon4mainEiPPc", true},
		{".*OsSysCallsImpl.*", true, "_ZN5Envoy3Api14OsSysCallsImpl4bindEiPK8sockaddrj", true},
		{"^Envoy::Api::OsSysCallsImpl::(bind|listen)$", true, "_ZN5Envoy3Api14OsSysCallsImpl4bindEiPK8sockaddrj", true},
		{"^Envoy::Api::OsSysCallsImpl::(bind|listen)$", true, "_ZN5Envoy3Api14OsSysCallsImpl6socketEiii", false},
		{"(?i)ossyscalls", true, "_ZN5Envoy3Api14OsSysCallsImpl6socketEiii", true},
		{"std::string::append", true, "_ZNSs6appendEPKc", true}, // mangled as Ss
		{"operator new", false, "_Znwm", true},
		{"(anonymous namespace)::helper", false, "_ZN12_GLOBAL__N_16helperEi", true},
		{"std::vector<unsigned long, std::allocator<unsigned long> >::reserve", false, "_ZNSt6vectorImSaImEE7reserveEm", true},
		{"f", false, "_Z1fv.part.0", false}, // a piece of it
		{"f", false, "_Z1fv.cold", false},
		{"f", false, "_Z1fv.isra.0", true},
		{"epoll_wait", false, "epoll_wait", true},
		{"^epoll_(create.*|p?wait2?|ctl)$", true, "epoll_pwait", true},
		{"main.main", false, "main.main", true},
	} {
		m, err := newMatcher(observe.Point{Name: c.point, Regexp: c.regexp})
		if err != nil {
			t.Fatal(err)
		}
		if name, ok := m.match(c.raw); ok != c.matches {
			t.Errorf("%q and %s (%s): %t, want %t; the hint is %q", c.point, c.raw, name, ok, c.matches, m.hint)
		}
	}
}
