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
		{"(?i)envoy::api::.*BIND", true, "_ZN5Envoy3Api14OsSysCallsImpl4bindEiPK8sockaddrj", true},
		{"(?i)unsigned LONG", true, "_ZNSt6vectorImSaImEE7reserveEm", true},
		{"[Oo]sSys", true, "_ZN5Envoy3Api14OsSysCallsImpl4bindEiPK8sockaddrj", true},
		{"connect|bind", true, "_ZN5Envoy3Api14OsSysCallsImpl4bindEiPK8sockaddrj", true},
		{"Envoy::(Nowhere|.*Calls)", true, "_ZN5Envoy3Api14OsSysCallsImpl4bindEiPK8sockaddrj", true},
		{"Envoy::registry[abi:cxx11]", false, "_ZN5Envoy8registryB5cxx11Ev", true},
		{"Envoy::.*lambda.*#2", true, "_ZZN5Envoy6Server3runEvENKUlvE0_clEv", true},
		{"f.*noexcept", true, "_ZN1fIDoFvvEEC1Ev", true},
		{"core::fmt::Formatter::pad", false, "_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", true},
	} {
		m, err := newMatcher(observe.Point{Name: c.point, Regexp: c.regexp})
		if err != nil {
			t.Fatal(err)
		}
		if name, ok := m.match(c.raw); ok != c.matches {
			t.Errorf("%q and %s (%s): %t, want %t; by the hint %t", c.point, c.raw, name, ok, c.matches, m.possible(c.raw))
		}
	}
}

// A hint must leave out nearly all names, or they would all be demangled.
func TestHint(t *testing.T) {
	const other = "_ZN5Envoy6Router10FilterImpl8onUpdateEv"
	for _, re := range []string{".*OsSysCallsImpl.*", "(?i)ossyscallsimpl", "^Envoy::.*::(connect|bind)$", "(Api|Os.*)::(bind|connect)", "Envoy::Api.*Update", "[Oo]sSysCalls"} {
		if m, err := newMatcher(observe.Point{Name: re, Regexp: true}); err != nil || m.possible(other) {
			t.Errorf("%s: %v; %s would be demangled", re, err, other)
		}
	}
}
