package flamegraph

import (
	"cmp"
	"slices"

	"github.com/envoyshim/envoyshim/internal/observe/profile"
)

// A frame is a call, or the same call in many samples.
type frame struct {
	name, file string
	value      int64
	callees    []*frame // the widest first
	index      map[key]*frame
}

type key struct{ name, file string }

// tree puts the samples together: below the root the threads by name, where those are known, then the calls.
func tree(p *profile.Profile, value int) *frame {
	root := &frame{name: "all"}
	names := make([]key, len(p.Locations))
	for i, l := range p.Locations {
		names[i].name = p.Name(l)
		if l.Mapping != profile.NoMapping {
			names[i].file = p.Mappings[l.Mapping].File
		}
	}
	for _, s := range p.Samples {
		v := s.Values[value]
		if v <= 0 {
			continue
		}
		root.value += v
		at := root
		if s.Thread != "" {
			at = at.call(key{name: s.Thread}, v)
		}
		for _, l := range slices.Backward(s.Stack) {
			at = at.call(names[l], v)
		}
	}
	root.each(func(f *frame) {
		slices.SortFunc(f.callees, func(a, b *frame) int {
			return cmp.Or(cmp.Compare(b.value, a.value), cmp.Compare(a.name, b.name), cmp.Compare(a.file, b.file))
		})
	})
	return root
}

// call adds a value to what a frame calls.
func (f *frame) call(k key, v int64) *frame {
	callee := f.index[k]
	if callee == nil {
		if f.index == nil {
			f.index = map[key]*frame{}
		}
		callee = &frame{name: k.name, file: k.file}
		f.index[k] = callee
		f.callees = append(f.callees, callee)
	}
	callee.value += v
	return callee
}

// each visits a frame and all below it.
func (f *frame) each(visit func(*frame)) {
	visit(f)
	for _, c := range f.callees {
		c.each(visit)
	}
}

// self is what a frame has beside its callees, also those that were left out.
func (f *frame) self() int64 {
	v := f.value
	for _, c := range f.index {
		v -= c.value
	}
	return v
}

func (f *frame) depth() int {
	deepest := 0
	for _, c := range f.callees {
		deepest = max(deepest, c.depth())
	}
	return deepest + 1
}

// threshold is the value below which frames are left out so that no more than n stay.
func (f *frame) threshold(n int) int64 {
	var values []int64
	f.each(func(f *frame) { values = append(values, f.value) })
	if len(values) <= n {
		return 0
	}
	slices.Sort(values)
	return values[len(values)-n-1] + 1
}

// prune leaves out what is below a value, and returns how many frames that were.
func (f *frame) prune(least int64) (leftOut int) {
	f.callees = slices.DeleteFunc(f.callees, func(c *frame) bool {
		if c.value < least {
			c.each(func(*frame) { leftOut++ })
			return true
		}
		return false
	})
	for _, c := range f.callees {
		leftOut += c.prune(least)
	}
	return leftOut
}
