package pprof

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"

	model "github.com/envoyshim/envoyshim/internal/observe/profile"
)

// Read reads a profile in pprof's format, compressed or not. Functions that were inlined become Locations of their own.
func Read(r io.Reader) (*model.Profile, error) {
	p, err := profile.Parse(r)
	if err != nil {
		return nil, fmt.Errorf("read the profile: %w", err)
	}
	m := &model.Profile{Default: p.DefaultSampleType, Duration: time.Duration(p.DurationNanos), Period: p.Period, Comments: p.Comments}
	if p.TimeNanos != 0 {
		m.Start = time.Unix(0, p.TimeNanos).UTC()
	}
	for _, t := range p.SampleType {
		m.Types = append(m.Types, model.ValueType{Type: t.Type, Unit: t.Unit})
	}
	if t := p.PeriodType; t != nil {
		m.PeriodType = model.ValueType{Type: t.Type, Unit: t.Unit}
	}
	mappings := map[*profile.Mapping]int{nil: model.NoMapping}
	for i, x := range p.Mapping {
		mappings[x] = i
		m.Mappings = append(m.Mappings, model.Mapping{Start: x.Start, Limit: x.Limit, Offset: x.Offset, File: x.File, BuildID: x.BuildID, Symbols: x.HasFunctions})
	}
	at := map[*profile.Location][]int{} // the innermost first
	for _, x := range p.Location {
		l := model.Location{Address: x.Address, Mapping: mappings[x.Mapping]}
		for _, line := range x.Line {
			l.Function, l.System, l.File, l.Line = line.Function.Name, line.Function.SystemName, line.Function.Filename, line.Line
			at[x] = append(at[x], len(m.Locations))
			m.Locations = append(m.Locations, l)
		}
		if len(x.Line) == 0 {
			at[x] = []int{len(m.Locations)}
			m.Locations = append(m.Locations, l)
		}
	}
	for _, x := range p.Sample {
		s := model.Sample{Values: slices.Clone(x.Value), Thread: strings.Join(x.Label["thread"], ", "), PID: number(x, "pid"), TID: number(x, "tid")}
		for _, l := range x.Location {
			s.Stack = append(s.Stack, at[l]...)
		}
		m.Samples = append(m.Samples, s)
	}
	return m, nil
}

func number(s *profile.Sample, label string) int {
	if n := s.NumLabel[label]; len(n) > 0 {
		return int(n[0])
	}
	return 0
}
