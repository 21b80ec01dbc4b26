package profile

import (
	"strings"
	"testing"
)

// Names in the files of others are printed on one line, and move no cursor.
func TestSummaryOfEvilNames(t *testing.T) {
	const evil = "\x1b]0;x\a\n"
	p := &Profile{
		Types: []ValueType{{evil, "count"}}, Comments: []string{evil}, Mappings: []Mapping{{File: evil}},
		Locations: []Location{{Function: evil}}, Samples: []Sample{{Stack: []int{0}, Values: []int64{1}}},
	}
	var out strings.Builder
	if err := p.Summarise().Write(&out); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); strings.ContainsAny(s, "\x1b\a") || strings.Count(s, "]0;x") != 4 || strings.Count(s, "\n") != 4 {
		t.Errorf("%q", s)
	}
}

// Of a long name its end is told, which is the function.
func TestShort(t *testing.T) {
	const text = "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >"
	for name, want := range map[string]string{
		"main": "main",
		"Envoy::Router::Filter<absl::flat_hash_map<" + text + ", std::unique_ptr<Envoy::Cluster> >, Envoy::Dispatcher>::decodeHeaders(Envoy::Http::HeaderMap&, bool)": "Envoy::Router::Filter<...>::decodeHeaders(...)",
		"std::_Function_handler<void (), Envoy::Server::run(" + text + ")::{lambda()#1}>::_M_invoke()":                                                                "std::_Function_handler<void (), Envoy::Server::run(...)::{lambda()#1}>::_M_invoke()",
		"Envoy::(anonymous namespace)::Less<" + text + ">::operator()(" + text + " const&) const":                                                                     "Envoy::(anonymous namespace)::Less<...>::operator()(...) const",
		"Envoy::operator<< <" + text + ">(std::ostream&, " + text + " const&)":                                                                                        "Envoy::operator<< <...>(...)",
		strings.Repeat("a", 60) + "::" + strings.Repeat("b", 60):                                                                                                      strings.Repeat("a", 50) + "..." + strings.Repeat("b", 47),
		strings.Repeat("<", 200): "<<<<...",
	} {
		if got := short(name); got != want {
			t.Errorf("%s\nis %s\nwant %s", name, got, want)
		} else if len(got) > 100 {
			t.Errorf("%s is %d letters long", got, len(got))
		}
	}
}
