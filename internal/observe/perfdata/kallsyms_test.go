package perfdata_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/envoyshim/envoyshim/internal/observe/perfdata"
	"github.com/envoyshim/envoyshim/internal/observe/profile"
)

// The kernel's functions are named from a kallsyms also when that kernel lay elsewhere; modules only where it lay at the same place, and nothing by
// a kallsyms that hides its addresses or does not say where it begins. What the records themselves name needs none.
func TestConvertKernelNames(t *testing.T) {
	const base = 0xffffffff90000000
	w := orders["little-endian"]
	mmap := func(start, length, offset uint64, name string) {
		w.record(1, 1, append([]any{^uint32(0), uint32(0), start, length, offset, name}, trailer(0, 0, 0)...)...)
	}
	mmap(base, 0x1000000, base, "[kernel.kallsyms]_text")
	mmap(0xffffffffc0100000, 0x1000, 0, "/lib/modules/kernel/net/some-net.ko.xz")
	w.record(17, 0, append([]any{uint64(0xffffffffc0200000), uint32(0x100), uint16(1), uint16(0), "bpf_prog_1"}, trailer(0, 0, 0)...)...)
	mmap(0xffffffffc0200000, 0x100, 0, "[bpf]")
	for i, ip := range []uint64{base + 0x10, base + 0x2010, 0xffffffffc0100010, 0xffffffffc0200010} {
		w.record(9, 1, ip, uint32(1), uint32(1), uint64(1000+i), uint64(1), uint64(1), ip)
	}
	file, _ := w.file("far", [20]byte{}, "/b")
	lines := func(base uint64) string {
		return fmt.Sprintf("%016x T _text\n%016x t first\n%016x d data\n%016x T second\n%016x t in_module\t[some_net]\n", base, base+0x8, base+0x2008, base+0x2000, uint64(0xffffffffc0100000))
	}
	for name, c := range map[string]struct {
		kallsyms string
		want     []string
	}{
		"the same place":    {lines(base), []string{"first", "second", "in_module", "bpf_prog_1"}},
		"another place":     {lines(base - 0x7000000), []string{"first", "second", "", "bpf_prog_1"}},
		"without its start": {lines(base)[27:], []string{"", "", "", "bpf_prog_1"}},
	} {
		path := filepath.Join(t.TempDir(), "kallsyms")
		if err := os.WriteFile(path, []byte(c.kallsyms), 0o600); err != nil {
			t.Fatal(err)
		}
		p, _, err := perfdata.Convert(bytes.NewReader(file), perfdata.Options{Kallsyms: path})
		if got := functions(p); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, not %q, error %v", name, got, c.want, err)
		}
	}
	path := filepath.Join(t.TempDir(), "kallsyms")
	if err := os.WriteFile(path, []byte("0000000000000000 T _text\n0000000000000000 T first\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, samples, err := perfdata.Convert(bytes.NewReader(file), perfdata.Options{Kallsyms: path})
	if want := "read " + path + ": it has no addresses (kernel.kptr_restrict hides them); read it as root"; err == nil || err.Error() != want || samples != 4 {
		t.Errorf("%d samples, error %v, not %s", samples, err, want)
	}
	if got, want := functions(p), []string{"", "", "", "bpf_prog_1"}; !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
}

// functions are those of the samples' innermost calls.
func functions(p *profile.Profile) (all []string) {
	for _, s := range p.Samples {
		all = append(all, p.Locations[s.Stack[0]].Function)
	}
	return all
}
