package test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/pprof/profile"
)

// perfHome runs a command with a home of its own, where perf keeps files by build-id.
func perfHome(home string, argv ...string) []string {
	return append([]string{"env", "HOME=" + home}, argv...)
}

// convert makes a profile of a file of perf record, and returns it with what was said.
func convert(t testing.TB, home, file string, flags ...string) (*profile.Profile, string) {
	t.Helper()
	out := filepath.Join(home, "out.pb.gz")
	said := run(t, perfHome(home, append([]string{kubectlCLI(t), "profile", "convert", file, "-o", out, "--kallsyms", "/proc/kallsyms"}, flags...)...)...)
	return opened(t, out), said
}

// A profile of perf's files says what perf itself says: the same functions with the same shares, the same chains of calls by the same threads, and
// the same sums; whatever way they were written.
func TestPerfDataAsPerfReports(t *testing.T) {
	program, library := fixture(t, "bin/test/shares"), fixture(t, "bin/test/libplugin.so")
	for name, record := range map[string]string{
		"plain":          "-g -F 499 -e cpu-clock -o FILE",
		"compressed":     "-z -g -F 499 -e cpu-clock -o FILE",
		"pipe":           "-g -F 499 -e cpu-clock -o -",
		"several events": "-g -F 499 -e cpu-clock,task-clock,page-faults -o FILE",
		"by period":      "-g -c 2000000 -e task-clock -o FILE",
		"mmap build-ids": "--buildid-mmap -g -F 499 -e cpu-clock -o FILE",
		"no call chains": "-F 499 -e cpu-clock -o FILE",
		"more fields":    "-g -F 499 -e cpu-clock -d --phys-data --sample-cpu --raw-samples --weight -o FILE",
		"two in a group": "-g -F 499 -e {cpu-clock,page-faults} --group -o FILE",
	} {
		t.Run(name, func(t *testing.T) {
			home := sharedDir(t)
			file := filepath.Join(home, "perf.data")
			words := strings.Fields(strings.ReplaceAll(record, "FILE", file))
			argv := append(append([]string{"perf", "record"}, words...), "--", program, "20", library, "fork")
			if strings.HasSuffix(record, "-o -") {
				argv = append([]string{"sh", "-c", `exec "$@" >` + file, "sh"}, argv...)
			}
			slowly(t, perfHome(home, argv...)...)
			p, said := convert(t, home, file)
			lacks(t, said, "lost")
			theirs := perfScript(t, home, file)
			if len(theirs) == 0 {
				t.Fatal("perf script shows nothing: this proves nothing")
			}
			for event, stacks := range theirs {
				value := slices.IndexFunc(p.SampleType, func(v *profile.ValueType) bool {
					return v.Type == event+"_samples" || len(theirs) == 1 && v.Type == "samples"
				})
				if value < 0 {
					t.Fatalf("no samples of event %s among %v", event, p.SampleType)
				}
				ours := folded(p, value)
				sameStacks(t, event, stacks, ours)
				sameTop(t, perfReport(t, home, file, event), p, value)
			}
		})
	}
}

// folded are chains of calls with the thread before them, the outermost first, and how often they were sampled.
func folded(p *profile.Profile, value int) map[string]int64 {
	all := map[string]int64{}
	for _, s := range p.Sample {
		if s.Value[value] == 0 {
			continue
		}
		words := append(s.Label["thread"], fmt.Sprint(s.NumLabel["tid"][0]))
		for _, l := range slices.Backward(s.Location) {
			words = append(words, functionOf(l))
		}
		all[strings.Join(words, ";")] += s.Value[value]
	}
	return all
}

const unknown = "[unknown]"

func functionOf(l *profile.Location) string {
	if len(l.Line) == 0 {
		return unknown
	}
	return plainName(l.Line[0].Function.Name)
}

// plainName is a function without its parameters, which perf does not show, and without its version; of functions at one place the first name.
func plainName(name string) string {
	name, _, _ = strings.Cut(name, "(")
	name, _, _ = strings.Cut(name, "@")
	if name == "_start" || name == "_dl_start_user" { // labels of assembly, which are no functions
		return unknown
	}
	return cmp.Or(aliases()[name], name)
}

// aliases are the names of functions of the libc and of the kernel that have several.
var aliases = sync.OnceValue(func() map[string]string {
	all := map[string]string{}
	for _, list := range []string{"cat /proc/kallsyms", "nm -C /lib/x86_64-linux-gnu/libc.so.6; nm -D --without-symbol-versions /lib/x86_64-linux-gnu/libc.so.6",
		"nm /usr/lib/debug/.build-id/$(readelf -n /lib/x86_64-linux-gnu/libc.so.6 | sed -n 's/.*Build ID: \\(..\\)/\\1\\//p').debug"} {
		out, _ := exec.Command("sh", "-c", list).Output()
		at := map[string][]string{}
		for line := range strings.Lines(string(out)) {
			if words := strings.Fields(line); len(words) >= 3 && strings.Contains("tTwWiI", words[1]) {
				name, _, _ := strings.Cut(words[2], "@")
				at[words[0]] = append(at[words[0]], name)
			}
		}
		for _, names := range at {
			for _, name := range names {
				if len(names) > 1 {
					all[name] = slices.Min(names)
				}
			}
		}
	}
	return all
})

// perfScript are the chains of each event as perf shows them.
func perfScript(t testing.TB, home, file string) map[string]map[string]int64 {
	t.Helper()
	cmd := exec.Command("perf", "script", "--no-inline", "-F", "comm,tid,event,ip,sym", "-i", file)
	cmd.Env = append(os.Environ(), "HOME="+home)
	out, err := cmd.Output()
	must(t, err)
	all := map[string]map[string]int64{}
	var event string
	var words []string // of the chain, the innermost first
	var thread []string
	finish := func() {
		if event == "" {
			return
		}
		if all[event] == nil {
			all[event] = map[string]int64{}
		}
		slices.Reverse(words)
		all[event][strings.Join(append(thread, words...), ";")]++
		event, words = "", nil
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
			finish()
		case strings.HasPrefix(line, "\t"): // address, symbol
			words = append(words, plainName(cmp.Or(strings.Join(fields[1:], " "), unknown)))
		default: // name tid event: [address symbol]
			finish()
			thread = fields[:2]
			event = strings.TrimSuffix(fields[2], ":")
			if len(fields) > 3 {
				words = []string{plainName(cmp.Or(strings.Join(fields[4:], " "), unknown))}
			}
		}
	}
	finish()
	return all
}

// sameStacks allows the few chains that perf names otherwise: it takes a return address for a place in the function called.
func sameStacks(t testing.TB, event string, theirs, ours map[string]int64) {
	t.Helper()
	var sum, common, mine int64
	var other []string
	for stack, n := range theirs {
		sum += n
		common += min(n, ours[stack])
		if ours[stack] != n {
			other = append(other, fmt.Sprintf("%s: %d, not %d", stack, ours[stack], n))
		}
	}
	for _, n := range ours {
		mine += n
	}
	if mine != sum {
		t.Errorf("%s: %d samples, not %d", event, mine, sum)
	}
	if sum-common > max(4, sum/33) {
		slices.Sort(other)
		t.Errorf("%s: only %d of %d chains of calls are those of perf script:\n%s\nof ours:\n%v", event, common, sum, strings.Join(other, "\n"), ours)
	}
}

// perfReport is the share of each function in an event's samples, in percent.
func perfReport(t testing.TB, home, file, event string) map[string]float64 {
	t.Helper()
	cmd := exec.Command("perf", "report", "--no-children", "--no-group", "--stdio", "-F", "overhead,sym", "-g", "none", "--no-inline", "--percent-limit", "0", "-t", "|", "-i", file)
	cmd.Env = append(os.Environ(), "HOME="+home)
	out, err := cmd.Output()
	must(t, err)
	shares := map[string]float64{}
	of := ""
	for line := range strings.Lines(string(out)) {
		if _, after, ok := strings.Cut(line, " of event"); ok { // event 'NAME', or events
			_, after, _ = strings.Cut(after, "'")
			of, _, _ = strings.Cut(after, "'")
		}
		share, symbol, ok := strings.Cut(strings.TrimSpace(line), "|")
		percent, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(share), "%"), 64)
		if !ok || err != nil || of != event {
			continue
		}
		_, name, _ := strings.Cut(strings.TrimSpace(symbol), "] ")
		name = plainName(name)
		if strings.HasPrefix(name, "0x") {
			name = unknown
		}
		shares[name] += percent
	}
	return shares
}

// sameTop compares the ten functions with the largest shares of an event's values, which follow its samples.
func sameTop(t testing.TB, theirs map[string]float64, p *profile.Profile, value int) {
	t.Helper()
	ours, sum := map[string]float64{}, 0.0
	for _, s := range p.Sample {
		ours[functionOf(s.Location[0])] += float64(s.Value[value+1])
		sum += float64(s.Value[value+1])
	}
	names := make([]string, 0, len(theirs))
	for name := range theirs {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(theirs[b], theirs[a]), cmp.Compare(a, b)) })
	if len(names) == 0 {
		t.Fatal("perf report shows nothing: this proves nothing")
	}
	for _, name := range names[:min(10, len(names))] {
		// Each line of perf's is rounded to two places. What is in no function, as labels of assembly in the loader, it gives to a function nearby:
		// of faults, which are few, two are let pass.
		if got := 100 * ours[name] / sum; name != unknown && math.Abs(got-theirs[name]) > 0.06+200/sum {
			t.Errorf("%s has %.2f %%, not %.2f %% as perf report says; ours: %v", name, got, theirs[name], ours)
		}
	}
}

// What is written opens in pprof, with the same sums.
func TestPerfDataInPprof(t *testing.T) {
	home := sharedDir(t)
	file := filepath.Join(home, "perf.data")
	slowly(t, perfHome(home, "perf", "record", "-g", "-F", "499", "-e", "cpu-clock", "-o", file, "--", fixture(t, "bin/test/shares"), "30", fixture(t, "bin/test/libplugin.so"))...)
	p, said := convert(t, home, file)
	contains(t, said, "samples of 3 threads", "SELF", "most")
	if len(p.Mapping) == 0 || p.Mapping[0].File != fixture(t, "bin/test/shares") || p.Mapping[0].BuildID == "" {
		t.Errorf("the first mapping is %+v", p.Mapping)
	}
	top := run(t, "go", "tool", "pprof", "-top", "-nodecount=5", filepath.Join(home, "out.pb.gz"))
	contains(t, top, "File: shares", "Type: cpu", "most")
	var total int64
	for _, s := range p.Sample {
		total += s.Value[1]
	}
	report := run(t, perfHome(home, "perf", "report", "--stdio", "--no-children", "-g", "none", "-i", file)...)
	contains(t, report, fmt.Sprintf("Event count (approx.): %d", total))
}

// A file whose end is missing gives what it has, says where it ends, and is an error.
func TestPerfDataCutShort(t *testing.T) {
	home := sharedDir(t)
	file, out := filepath.Join(home, "perf.data"), filepath.Join(home, "out.pb.gz")
	slowly(t, perfHome(home, "perf", "record", "-g", "-F", "499", "-e", "cpu-clock", "-o", file, "--", fixture(t, "bin/test/shares"), "10")...)
	whole, err := os.ReadFile(file)
	must(t, err)
	all, _ := convert(t, home, file)
	must(t, os.WriteFile(file, whole[:len(whole)/2], 0o600))
	must(t, os.Remove(out))
	got := finish(t, perfHome(home, kubectlCLI(t), "profile", "convert", file, "-o", out)...)
	half := opened(t, out)
	n := count(half)
	if n == 0 || n >= count(all) {
		t.Errorf("%d samples of %d", n, count(all))
	}
	want := fmt.Sprintf("envoyshim: %s: the file ends: ", file)
	end := fmt.Sprintf(" at offset %#x; %d samples before it are in %s", len(whole)/2, n, out)
	last := got.stderr[strings.LastIndex(got.stderr, "\n")+1:]
	if got.code != 1 || !strings.HasPrefix(last, want) || !strings.HasSuffix(last, end) {
		t.Errorf("%+v, not %s...%s", got, want, end)
	}
	must(t, os.WriteFile(file, whole[:60], 0o600))
	must(t, os.Remove(out))
	got = finish(t, perfHome(home, kubectlCLI(t), "profile", "convert", file, "-o", out)...)
	if want := fmt.Sprintf("envoyshim: %s: the file ends: the header of 104 bytes was expected from offset 0x0, at offset 0x3c", file); got.code != 1 || got.stderr != want {
		t.Errorf("%+v, not %s", got, want)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("there is a profile of nothing")
	}
}

// What a killed perf leaves has no size in its header, no build-ids, and an end that may lie inside a record. The program is still the same file, by which
// there are names.
func TestPerfDataOfAKilledPerf(t *testing.T) {
	home := sharedDir(t)
	file, out := filepath.Join(home, "perf.data"), filepath.Join(home, "out.pb.gz")
	cmd := exec.Command("perf", "record", "-m", "2", "-g", "-F", "1999", "-e", "cpu-clock", "-o", file, "--", fixture(t, "bin/test/shares"), "5000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := startCmd(t, []string{"HOME=" + home}, cmd)
	end := func() { _ = syscall.Kill(-p.pid(), syscall.SIGKILL) } // with the program
	t.Cleanup(end)
	eventually(t, "perf has written samples", func() bool {
		info, err := os.Stat(file)
		return err == nil && info.Size() > 50_000
	})
	end()
	p.status()
	got := finish(t, perfHome(home, kubectlCLI(t), "profile", "convert", file, "-o", out)...)
	contains(t, got.stderr, " samples of ", "perf was killed before it finished the file", "tenth")
	if got.code != 0 && !strings.Contains(got.stderr, "the file ends: a record") {
		t.Errorf("%+v", got)
	}
	if n := count(opened(t, out)); n < 50 {
		t.Errorf("%d samples", n)
	}
}

func count(p *profile.Profile) (n int64) {
	for _, s := range p.Sample {
		n += s.Value[0]
	}
	return n
}

// With --call-graph dwarf the instruction is known and the kernel's part of the chain, and that is said.
func TestPerfDataWithUserStacks(t *testing.T) {
	home := sharedDir(t)
	file := filepath.Join(home, "perf.data")
	slowly(t, perfHome(home, "perf", "record", "--call-graph", "dwarf", "-F", "199", "-e", "cpu-clock", "-o", file, "--", fixture(t, "bin/test/shares"), "20")...)
	p, said := convert(t, home, file)
	contains(t, said, "recorded with --call-graph dwarf: stacks in user space are not unwound here")
	sameTop(t, perfReport(t, home, file, "cpu-clock"), p, 0)
}

// Of a group whose leader is sampled the leader is taken, and that is said.
func TestPerfDataOfAGroup(t *testing.T) {
	home := sharedDir(t)
	file := filepath.Join(home, "perf.data")
	slowly(t, perfHome(home, "perf", "record", "-g", "-F", "199", "-e", "{cpu-clock,page-faults}:S", "-o", file, "--", fixture(t, "bin/test/shares"), "20")...)
	p, said := convert(t, home, file)
	contains(t, said, "with the counters of whole groups (:S): only those of the leaders are taken")
	sameStacks(t, "cpu-clock", perfScript(t, home, file)["cpu-clock"], folded(p, 0))
}

// Names never come from another build than the one that ran.
func TestPerfDataOfAnotherBuild(t *testing.T) {
	home := sharedDir(t)
	file, program := filepath.Join(home, "perf.data"), filepath.Join(home, "shares")
	copyFile(t, fixture(t, "bin/test/shares"), program)
	slowly(t, perfHome(home, "perf", "record", "-N", "-g", "-F", "499", "-e", "cpu-clock", "-o", file, "--", program, "10")...)
	must(t, os.Remove(program))
	copyFile(t, fixture(t, "bin/test/tour"), program)
	p, said := convert(t, home, file)
	contains(t, said, "no file of that build was found for the names in")
	for _, s := range p.Sample {
		if m := s.Location[0].Mapping; m != nil && m.File == program && functionOf(s.Location[0]) != unknown {
			t.Fatalf("%s is a name of another build", functionOf(s.Location[0]))
		}
	}
	p, _ = convert(t, home, file, "--elf", fixture(t, "bin/test/shares"))
	names := ""
	for _, s := range p.Sample {
		names += functionOf(s.Location[0]) + " "
	}
	contains(t, names, "most")
}

// The ways in and out: standard input and output, a summary as JSON, a picture alone; nothing is written where something is wrong.
func TestProfileConvertStreams(t *testing.T) {
	home := sharedDir(t)
	seed, err := filepath.Abs("../internal/observe/perfdata/testdata/plain.data")
	must(t, err)
	convert := kubectlCLI(t) + " profile convert "
	sh := func(script string) result { return finish(t, perfHome(home, "sh", "-c", "cd "+home+" && "+script)...) }
	want := ""
	for _, script := range []string{
		convert + seed + " -o a.pb.gz",
		convert + "- -o a.pb.gz <" + seed,
		"cat " + seed + " | " + convert + "- -o a.pb.gz",
		convert + seed + " -o - >a.pb.gz",
	} {
		if got := sh(script); got.code != 0 || got.stdout != "" || !strings.Contains(got.stderr, " samples of ") {
			t.Errorf("%s: %+v", script, got)
		}
		got := opened(t, filepath.Join(home, "a.pb.gz")).String()
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("%s makes another profile:\n%s\nnot\n%s", script, got, want)
		}
	}
	got := sh(convert + "a.pb.gz --flamegraph a.svg --json")
	var summary struct {
		Samples int64
		Top     []struct{ Function string }
	}
	if err := json.Unmarshal([]byte(got.stdout), &summary); err != nil || summary.Samples == 0 || len(summary.Top) == 0 || got.stderr != "" {
		t.Errorf("%+v, %v", got, err)
	}
	picture, err := os.ReadFile(filepath.Join(home, "a.svg"))
	must(t, err)
	contains(t, string(picture), "<svg ", "shares", "</svg>")
	got = sh(convert + "a.pb.gz --flamegraph b.svg --type offcpu")
	if want := "envoyshim: the profile has no values of type offcpu: it has samples, cpu"; got != (result{"", want, 1}) {
		t.Errorf("%+v, not %s", got, want)
	}
	if got := sh(convert + "a.pb.gz --flamegraph - --type cpu"); got.code != 0 || got.stdout == "" || !strings.HasSuffix(got.stdout, "</svg>") {
		t.Errorf("%+v", got)
	}
	got = sh(convert + seed + " -o none/b.pb.gz")
	if want := "envoyshim: write none/b.pb.gz: no such file or directory"; got != (result{"", want, 1}) {
		t.Errorf("%+v, not %s", got, want)
	}
	got = sh(convert + seed + " -o b.pb.gz --kallsyms none")
	if want := "envoyshim: " + seed + ": open none: no such file or directory; without it the profile is in b.pb.gz"; got.code != 1 || !strings.HasSuffix(got.stderr, want) {
		t.Errorf("%+v, not %s", got, want)
	}
}
