// Package pprof writes profiles in pprof's format. It is linked only into programs that have room for its library: the carried one and
// kubectl-envoyshim.
package pprof

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/google/pprof/profile"

	model "github.com/envoyshim/envoyshim/internal/observe/profile"
)

// Filter is the role of the carried program: a model as JSON from in, compressed pprof to out.
func Filter(in io.Reader, out io.Writer) error {
	var p model.Profile
	if err := json.NewDecoder(in).Decode(&p); err != nil {
		return fmt.Errorf("read the profile: %w", err)
	}
	return Write(out, &p)
}

// Write writes a profile in pprof's format, compressed by gzip.
func Write(w io.Writer, m *model.Profile) error {
	p := Convert(m)
	if err := p.CheckValid(); err != nil {
		return fmt.Errorf("make a profile: %w", err)
	}
	if err := p.Write(w); err != nil {
		return fmt.Errorf("write the profile: %w", err)
	}
	return nil
}

// Convert makes a pprof profile.
func Convert(m *model.Profile) *profile.Profile {
	p := &profile.Profile{
		DefaultSampleType: m.Default,
		Comments:          m.Comments,
		DurationNanos:     int64(m.Duration),
		PeriodType:        valueType(m.PeriodType),
		Period:            m.Period,
	}
	if !m.Start.IsZero() {
		p.TimeNanos = m.Start.UnixNano()
	}
	for _, t := range m.Types {
		p.SampleType = append(p.SampleType, valueType(t))
	}
	// named: pprof need not look for functions. Those of a stripped file are found later, by its build-id.
	used, named := make([]bool, len(m.Mappings)), make([]bool, len(m.Mappings))
	for _, l := range m.Locations {
		if n := l.Mapping; n != model.NoMapping {
			named[n] = l.Function != "" && (named[n] || !used[n])
			used[n] = true
		}
	}
	mappings := make([]*profile.Mapping, len(m.Mappings))
	for i, x := range m.Mappings {
		if !used[i] && i != 0 { // the first is the program's own
			continue
		}
		mappings[i] = &profile.Mapping{
			ID: uint64(len(p.Mapping) + 1), Start: x.Start, Limit: x.Limit, Offset: x.Offset, File: x.File, BuildID: x.BuildID,
			HasFunctions: named[i],
		}
		p.Mapping = append(p.Mapping, mappings[i])
	}
	type name struct{ function, system, file string }
	functions := map[name]*profile.Function{}
	for i, x := range m.Locations {
		l := &profile.Location{ID: uint64(i + 1), Address: x.Address}
		if x.Mapping != model.NoMapping {
			l.Mapping = mappings[x.Mapping]
		}
		if x.Function != "" {
			n := name{x.Function, x.System, x.File}
			f := functions[n]
			if f == nil {
				f = &profile.Function{ID: uint64(len(p.Function) + 1), Name: x.Function, SystemName: x.System, Filename: x.File}
				if f.SystemName == "" {
					f.SystemName = x.Function
				}
				functions[n] = f
				p.Function = append(p.Function, f)
			}
			l.Line = []profile.Line{{Function: f, Line: x.Line}}
		}
		p.Location = append(p.Location, l)
	}
	for _, x := range m.Samples {
		s := &profile.Sample{Value: x.Values}
		for _, n := range x.Stack {
			s.Location = append(s.Location, p.Location[n])
		}
		if x.Thread != "" {
			s.Label = map[string][]string{"thread": {x.Thread}}
		}
		if x.TID != 0 {
			s.NumLabel = map[string][]int64{"tid": {int64(x.TID)}}
		}
		if x.PID != 0 {
			if s.NumLabel == nil {
				s.NumLabel = map[string][]int64{}
			}
			s.NumLabel["pid"] = []int64{int64(x.PID)}
		}
		p.Sample = append(p.Sample, s)
	}
	return p
}

func valueType(t model.ValueType) *profile.ValueType {
	return &profile.ValueType{Type: t.Type, Unit: t.Unit}
}
