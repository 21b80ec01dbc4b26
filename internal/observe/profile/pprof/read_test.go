package pprof_test

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	model "github.com/envoyshim/envoyshim/internal/observe/profile"
	"github.com/envoyshim/envoyshim/internal/observe/profile/pprof"
)

// What was written reads as it was.
func TestRoundTrip(t *testing.T) {
	want := &model.Profile{
		Types: []model.ValueType{model.Samples, model.CPU, model.OffCPU}, Default: "cpu", Start: time.Unix(1789000000, 5).UTC(), Duration: time.Second,
		PeriodType: model.CPU, Period: 1e7, Comments: []string{"sampled", "by hand"},
		Mappings: []model.Mapping{
			{Start: 0x1000, Limit: 0x2000, File: "/program", BuildID: "abcd", Symbols: true},
			{Start: 0x5000, Limit: 0x6000, Offset: 0x1000, File: "/stripped"},
		},
		Locations: []model.Location{
			{Address: 0x1010, Mapping: 0, Function: "f(int)", System: "_Z1fi", File: "f.cc", Line: 7},
			{Address: 0x5010, Mapping: 1}, {Address: 0x9000, Mapping: model.NoMapping},
		},
		Samples: []model.Sample{
			{Stack: []int{0, 1}, Values: []int64{1, 10, 0}, PID: 7, TID: 8, Thread: "one"}, {Stack: []int{2}, Values: []int64{0, 0, 5}, TID: 9, Thread: "two"},
		},
	}
	var file bytes.Buffer
	if err := pprof.Write(&file, want); err != nil {
		t.Fatal(err)
	}
	got, err := pprof.Read(&file)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, not %+v", got, err, want)
	}
}

// Profiles of others may have functions that were inlined.
func TestReadInlined(t *testing.T) {
	f, g := &profile.Function{ID: 1, Name: "f"}, &profile.Function{ID: 2, Name: "g"}
	bare := &profile.Location{ID: 1, Address: 16}
	inlined := &profile.Location{ID: 2, Address: 32, Line: []profile.Line{{Function: f}, {Function: g}}}
	p := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}}, Function: []*profile.Function{f, g},
		Location: []*profile.Location{bare, inlined}, Sample: []*profile.Sample{{Location: []*profile.Location{bare, inlined}, Value: []int64{1}}},
	}
	var file bytes.Buffer
	if err := p.Write(&file); err != nil {
		t.Fatal(err)
	}
	m, err := pprof.Read(&file)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range m.Samples[0].Stack {
		names = append(names, m.Name(m.Locations[n]))
	}
	if want := []string{"0x10", "f", "g"}; !reflect.DeepEqual(names, want) {
		t.Errorf("%q, not %q", names, want)
	}
}
