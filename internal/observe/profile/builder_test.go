package profile

import (
	"slices"
	"testing"
)

// What is mapped changes while samples come: each belongs to what was there at its time.
func TestBuilderFollowsMappings(t *testing.T) {
	b := NewBuilder(Samples)
	var found []string
	b.Found = func(m *Mapping) { found = append(found, m.File) }
	at := func(pcs ...uint64) string {
		b.Add(Stack{TID: 1, PCs: pcs, Values: []int64{1}})
		l := b.Profile.Locations[b.Profile.Samples[len(b.Profile.Samples)-1].Stack[0]]
		if l.Mapping == NoMapping {
			return ""
		}
		return b.Profile.Mappings[l.Mapping].File
	}
	check := func(address uint64, want string) {
		t.Helper()
		if got := at(address); got != want {
			t.Errorf("%#x is in %q, not in %q", address, got, want)
		}
	}
	b.Map(Mapping{Start: 0x1000, Limit: 0x3000, File: "/program"})
	b.Map(Mapping{Start: 0x5000, Limit: 0x6000, File: "/liba"})
	check(0xfff, "")
	check(0x1000, "/program")
	check(0x2fff, "/program")
	check(0x3000, "")
	check(0x5800, "/liba")
	b.Map(Mapping{Start: 0x5800, Limit: 0x7000, File: "/libb"}) // liba went, and another came over its place
	check(0x5100, "")
	check(0x5900, "/libb")
	check(0xffffffff81000000, Kernel)
	b.Exec()
	check(0x1001, "")
	b.Map(Mapping{Start: 0x1000, Limit: 0x3000, File: "/program"}) // the same again: no new mapping
	check(0x1002, "/program")
	if want := []string{"/program", "/liba", "/libb"}; !slices.Equal(found, want) {
		t.Errorf("found %q, not %q", found, want)
	}
}

// A caller is where it has called from, not where it goes on; a program that was interrupted, or has gone into the kernel, is where it is.
func TestBuilderTakesCallersBeforeTheirReturn(t *testing.T) {
	b := NewBuilder(Samples, CPU)
	b.Map(Mapping{Start: 0x1000, Limit: 0x2000, File: "/program"})
	b.Add(Stack{TID: 1, PCs: []uint64{0x1100, 0x1200}, Values: []int64{1, 10}})
	b.Add(Stack{TID: 1, PCs: []uint64{0x1100, 0x1200}, Values: []int64{1, 20}})
	b.Add(Stack{TID: 2, PCs: []uint64{kernelStart + 8, kernelStart + 16, 0x1300, 0x1200}, User: 2, Values: []int64{1, 30}})
	p := b.Profile
	var got [][]uint64
	for _, s := range p.Samples {
		var addresses []uint64
		for _, n := range s.Stack {
			addresses = append(addresses, p.Locations[n].Address)
		}
		got = append(got, addresses)
	}
	want := [][]uint64{{0x1100, 0x11ff}, {kernelStart + 8, kernelStart + 15, 0x1300, 0x11ff}}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%#x, not %#x", got, want)
	}
	if v := p.Samples[0].Values; !slices.Equal(v, []int64{2, 30}) {
		t.Errorf("two samples at one place come to %d", v)
	}
}
