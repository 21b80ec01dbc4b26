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
