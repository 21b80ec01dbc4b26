package perfdata_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/envoyshim/envoyshim/internal/observe/flamegraph"
	"github.com/envoyshim/envoyshim/internal/observe/perfdata"
	"github.com/envoyshim/envoyshim/internal/observe/profile"
	"github.com/envoyshim/envoyshim/internal/observe/profile/pprof"
)

var orders = map[string]writer{
	"little-endian":            {order: binary.LittleEndian},
	"big-endian":               {order: binary.BigEndian},
	"little-endian, of 32 bit": {order: binary.LittleEndian, narrow: true},
	"big-endian, of 32 bit":    {order: binary.BigEndian, narrow: true},
}

const (
	user   = ^uint64(512) + 1
	kernel = ^uint64(128) + 1
)

// story writes what a process does: it is named, maps a file, forks, and the child executes another file; samples of it in time, but not in the
// order of their times.
func story(w *writer) {
	with := func(values []any, more ...any) []any { return append(values, more...) }
	mmap2 := func(pid, tid uint32, start, length, offset uint64, name string, time uint64) {
		w.record(10, 2, with([]any{pid, tid, start, length, offset, uint32(8), uint32(1), uint64(0), uint64(0), uint32(5), uint32(2), name}, trailer(pid, tid, time)...)...)
	}
	sample := func(misc uint16, ip uint64, pid, tid uint32, time, period uint64, chain ...uint64) {
		values := []any{ip, pid, tid, time, period, uint64(len(chain))}
		for _, c := range chain {
			values = append(values, c)
		}
		w.record(9, misc, values...)
	}
	w.record(1, 1, with([]any{^uint32(0), uint32(0), uint64(0xffffffff81000000), uint64(0x1000000), uint64(0xffffffff81000000), "[kernel.kallsyms]_text"}, trailer(0, 0, 0)...)...)
	w.record(3, 1<<13, with([]any{uint32(10), uint32(10), "parent"}, trailer(10, 10, 1000)...)...)
	mmap2(10, 10, 0x10000, 0x4000, 0x1000, "/a", 1100)
	sample(2, 0x10100, 10, 10, 5000, 7, user, 0x10100, 0x10205)
	w.record(7, 0, with([]any{uint32(20), uint32(10), uint32(20), uint32(10), uint64(2000)}, trailer(10, 10, 2000)...)...)
	sample(2, 0x10200, 20, 20, 2500, 7, user, 0x10200) // as the parent, /a
	w.record(68, 0)
	w.record(3, 1<<13, with([]any{uint32(20), uint32(20), "child"}, trailer(20, 20, 3000)...)...)
	mmap2(20, 20, 0x10000, 0x4000, 0, "/b", 3100)
	sample(1, 0xffffffff81000123, 20, 20, 4000, 9, kernel, 0xffffffff81000123, user, 0x10300)
	sample(2, 0x99999, 20, 20, 6000, 9, user, 0x99999)
	w.record(68, 0)
	w.record(2, 0, with([]any{uint64(0), uint64(3)}, trailer(20, 20, 7000)...)...) // lost
}

// The same content comes from machines of each byte order and width.
func TestConvertByteOrders(t *testing.T) {
	for name, w := range orders {
		t.Run(name, func(t *testing.T) {
			story(&w)
			file, _ := w.file("far", [20]byte{1, 2, 3}, "/b")
			p, samples, err := perfdata.Convert(bytes.NewReader(file), perfdata.Options{})
			if err != nil || samples != 4 {
				t.Fatalf("%d samples, error %v", samples, err)
			}
			if want := []profile.ValueType{profile.Samples, profile.CPU}; !slices.Equal(p.Types, want) || p.Default != "cpu" || p.Period != int64(10*time.Millisecond) {
				t.Errorf("types %v, default %s, period %d", p.Types, p.Default, p.Period)
			}
			if p.Duration != 3500 {
				t.Errorf("duration %d", p.Duration)
			}
			want := []string{
				"parent 10: /a+1100 /a+1204 = 1 7",
				"parent 20: /a+1200 = 1 7",
				"child 20: [kernel.kallsyms]_text+ffffffff81000123 /b+300 = 1 9",
				"child 20: 99999 = 1 9",
			}
			got := shown(p)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			ids := map[string]string{}
			for _, m := range p.Mappings {
				ids[m.File] = m.BuildID
			}
			if want := map[string]string{"/a": "", "/b": "0102030000000000000000000000000000000000", "[kernel.kallsyms]_text": ""}; !maps.Equal(ids, want) {
				t.Errorf("build-ids %v", ids)
			}
			if comments := strings.Join(p.Comments, "\n"); !strings.Contains(comments, "on: far") || !strings.Contains(comments, "3 samples or other records were lost") {
				t.Errorf("comments\n%s", comments)
			}
		})
	}
}

func shown(p *profile.Profile) []string {
	var all []string
	for _, s := range p.Samples {
		var line strings.Builder
		say := func(words ...string) { line.WriteString(strings.Join(words, "")) }
		say(s.Thread, " ", strconv.Itoa(s.TID), ":")
		for _, n := range s.Stack {
			l := p.Locations[n]
			if l.Mapping == profile.NoMapping {
				say(" ", strconv.FormatUint(l.Address, 16))
				continue
			}
			m := p.Mappings[l.Mapping]
			say(" ", m.File, "+", strconv.FormatUint(l.Address-m.Start+m.Offset, 16))
		}
		say(" =")
		for _, v := range s.Values {
			say(" ", strconv.FormatInt(v, 10))
		}
		all = append(all, line.String())
	}
	slices.Sort(all)
	return all
}

// Errors say where and what, and what came before them is there.
func TestConvertMalformed(t *testing.T) {
	good := orders["little-endian"]
	story(&good)
	whole, records := good.file("far", [20]byte{}, "/b")
	last := good.record(9, 2, uint64(1))
	broken, _ := good.file("far", [20]byte{}, "/b")
	edit := func(at int, with ...byte) []byte { return slices.Concat(whole[:at], with, whole[at+len(with):]) }
	for name, c := range map[string]struct {
		file    []byte
		offset  int64
		text    string
		samples int
	}{
		"empty":                       {nil, 0, "the file ends: perf's header of 16 bytes was expected", 0},
		"another file":                {[]byte("\x7fELF, which is something else"), 0, `no file of perf record: "\x7fELF, wh" instead of PERFILE2`, 0},
		"a header of 99 bytes":        {edit(8, 99), 8, "a header of 99 bytes, not 104 or 16", 0},
		"events of 3 bytes":           {edit(16, 3), 16, "an event in 3 bytes", 0},
		"no events":                   {edit(32, 0), 24, "no event was sampled", 0},
		"events beyond the end":       {edit(31, 1), 1<<56 | 104, "the file ends: the list of events", 0},
		"attributes that are larger":  {edit(104+4, 255), 104, "an event's attributes are larger than the 80 bytes for it", 0},
		"a record of 3 bytes":         {edit(records+6, 3, 0), int64(records), "a record of 3 bytes, less than its header", 0},
		"a sample of 16 bytes":        {broken, int64(records + last), "a sample of 16 bytes, less than its call chain", 4},
		"cut in the middle":           {whole[:records+last-20], int64(records + last - 20), "the file ends: a record of", 4},
		"cut after the records":       {whole[:records+last], int64(records + last), "the file ends: the place of a feature of the header", 4},
		"compressed, but not by zstd": {slices.Concat([]byte("PERFILE2"), words(16), good.words(nil, uint32(81), uint16(0), uint16(24), uint64(1), uint64(2))), 16, "a compressed record that zstd cannot expand", 0},
		"a sample before its event":   {slices.Concat([]byte("PERFILE2"), words(16), good.words(nil, uint32(9), uint16(0), uint16(8))), 16, "a record of kind 9 before any event was told", 0},
	} {
		t.Run(name, func(t *testing.T) {
			p, samples, err := perfdata.Convert(bytes.NewReader(c.file), perfdata.Options{})
			var at *perfdata.FormatError
			if !errors.As(err, &at) || at.Offset != c.offset || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, not %q at %#x", err, c.text, c.offset)
			}
			if samples != c.samples || c.samples > 0 && len(p.Samples) == 0 {
				t.Errorf("%d samples before it, not %d", samples, c.samples)
			}
		})
	}
}

func words(values ...uint64) (b []byte) {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// Compressed records continue one stream, and what they expand to is cut anywhere.
func TestConvertCompressed(t *testing.T) {
	plain := orders["little-endian"]
	story(&plain)
	file, _ := plain.file("far", [20]byte{}, "/b")
	want, _, err := perfdata.Convert(bytes.NewReader(file), perfdata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []uint32{81, 83} {
		for _, size := range []int{1, 7, 100, 1 << 20} {
			w := orders["little-endian"]
			var out bytes.Buffer
			z, err := zstd.NewWriter(&out)
			if err != nil {
				t.Fatal(err)
			}
			rounds := []byte{68, 0, 0, 0, 0, 0, 8, 0} // perf leaves them as they are
			for part := range bytes.SplitSeq(plain.records.Bytes(), rounds) {
				for piece := range slices.Chunk(part, size) {
					_, _ = z.Write(piece)
					if err := z.Flush(); err != nil {
						t.Fatal(err)
					}
					values := []byte(nil)
					if kind == 83 {
						values = words(uint64(out.Len()))
					}
					values = append(values, out.Bytes()...)
					if kind == 83 {
						values = append(values, make([]byte, -len(values)&7)...)
					}
					w.records.Write(w.words(nil, kind, uint16(0), uint16(8+len(values))))
					w.records.Write(values)
					out.Reset()
				}
				w.records.Write(rounds)
			}
			file, _ := w.file("far", [20]byte{}, "/b")
			got, samples, err := perfdata.Convert(bytes.NewReader(file), perfdata.Options{})
			if err != nil || samples != 4 || !slices.Equal(shown(got), shown(want)) {
				t.Errorf("kind %d, in pieces of %d bytes: %d samples, error %v", kind, size, samples, err)
			}
		}
	}
}

// A perf that was killed has not written how much there is.
func TestConvertKilled(t *testing.T) {
	w := orders["little-endian"]
	story(&w)
	file, records := w.file("far", [20]byte{}, "/b")
	copy(file[48:], make([]byte, 8))
	p, samples, err := perfdata.Convert(bytes.NewReader(file[:records+w.records.Len()]), perfdata.Options{})
	if err != nil || samples != 4 || !strings.Contains(strings.Join(p.Comments, "\n"), "perf was killed") {
		t.Errorf("%d samples, error %v, %v", samples, err, p)
	}
}

// Of a file that comes by a pipe the same is read.
func TestConvertFromAPipe(t *testing.T) {
	for _, name := range seeds(t) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		p, samples, err := perfdata.Convert(bytes.NewReader(b), perfdata.Options{})
		if err != nil || samples == 0 {
			t.Fatalf("%s: %d samples, error %v", name, samples, err)
		}
		q, again, err := perfdata.Convert(struct{ io.Reader }{bytes.NewReader(b)}, perfdata.Options{})
		if err != nil || again != samples || !slices.Equal(shown(q), shown(p)) {
			t.Errorf("%s: %d samples instead of %d, error %v", name, again, samples, err)
		}
	}
}

// seeds are small files of Debian 12's perf.
func seeds(t testing.TB) []string {
	t.Helper()
	all, err := filepath.Glob("testdata/*.data")
	if err != nil || len(all) == 0 {
		t.Fatalf("no files in testdata: %v", err)
	}
	return all
}

func addSeeds(f *testing.F) {
	for _, name := range seeds(f) {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, w := range orders {
		story(&w)
		b, _ := w.file("far", [20]byte{}, "/b")
		f.Add(b)
	}
}

// FuzzRead: whatever the file holds, reading it ends, takes no more memory than a multiple of its size, and an error tells a place in it.
func FuzzRead(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		p, samples, err := perfdata.Convert(bytes.NewReader(b), perfdata.Options{})
		runtime.ReadMemStats(&after)
		// What zstd repeats can be much more than what it takes in the file; it needs a window, too.
		if used, bound := after.TotalAlloc-before.TotalAlloc, uint64(len(b))*2000+256<<20; used > bound {
			t.Errorf("%d bytes of memory for a file of %d", used, len(b))
		}
		if samples > 0 && len(p.Samples) == 0 {
			t.Errorf("%d samples, but not in the profile", samples)
		}
		var at *perfdata.FormatError
		if err != nil && (!errors.As(err, &at) || at.Offset < 0) {
			t.Errorf("error %v", err)
		}
	})
}

// FuzzConvert: what is read makes a valid profile and a picture.
func FuzzConvert(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, samples, _ := perfdata.Convert(bytes.NewReader(b), perfdata.Options{})
		if samples == 0 {
			return
		}
		var out bytes.Buffer
		if err := pprof.Write(&out, p); err != nil {
			t.Fatal(err)
		}
		again, err := pprof.Read(&out)
		if err != nil {
			t.Fatal(err)
		}
		if err := flamegraph.Write(io.Discard, again, flamegraph.Options{}); err != nil {
			t.Fatal(err)
		}
	})
}
