package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/procfs"
)

// profiler runs the command; what is profiled says what it says on the same streams.
func profiler(t testing.TB, args ...string) *process {
	t.Helper()
	return start(t, nil, append([]string{cli(t), "profile"}, args...)...)
}

// opened is a profile that pprof takes.
func opened(t testing.TB, file string) *profile.Profile {
	t.Helper()
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	p, err := profile.Parse(f)
	must(t, err)
	must(t, p.CheckValid())
	return p
}

// spent is what each function has of a type of samples, in itself, and in all.
func spent(t testing.TB, p *profile.Profile, typ string) (flat map[string]int64, all int64) {
	t.Helper()
	i := slices.IndexFunc(p.SampleType, func(v *profile.ValueType) bool { return v.Type == typ })
	if i < 0 {
		t.Fatalf("no %s in the profile", typ)
	}
	flat = map[string]int64{}
	for _, s := range p.Sample {
		all += s.Value[i]
		flat[functionOf(s.Location[0])] += s.Value[i]
	}
	return flat, all
}

// truth is what fixtures/burn.cc says of itself, in nanoseconds.
func truth(t testing.TB, said string) map[string]int64 {
	t.Helper()
	ns := map[string]int64{}
	for _, name := range []string{"static_init", "hot", "warm", "cool", "sleeper"} {
		m := regexp.MustCompile(`(?m)^` + name + ` (\d+)$`).FindStringSubmatch(said)
		if m == nil {
			t.Fatalf("burn does not tell %s:\n%s", name, said)
		}
		ns[name], _ = strconv.ParseInt(m[1], 10, 64)
	}
	return ns
}

// tells compares the profile of burn with what it says. What is neither of it is the way there.
func tells(t testing.TB, p *profile.Profile, said string) {
	t.Helper()
	want := truth(t, said)
	delete(want, "sleeper")
	got, _ := spent(t, p, "cpu")
	var all, whole int64
	for name, n := range want {
		all, whole = all+got[name], whole+n
	}
	if math.Abs(float64(all)/float64(whole)-1) > missed { // no thread is counted twice, or not at all
		t.Errorf("%d ns of CPU time in the profile, in truth %d", all, whole)
	}
	for name, n := range want {
		is, should := float64(got[name])/float64(all), float64(n)/float64(whole)
		t.Logf("%-12s %5.1f %%, in truth %5.1f %%", name, 100*is, 100*should)
		if math.Abs(is-should) > points {
			t.Errorf("%s has %.1f %% of the profile, in truth %.1f %%", name, 100*is, 100*should)
		}
	}
}

// commented reports a comment with that text.
func commented(t testing.TB, p *profile.Profile, texts ...string) {
	t.Helper()
	contains(t, strings.Join(p.Comments, "\n"), texts...)
}

// pprofTop is what `go tool pprof` says of it.
func pprofTop(t testing.TB, file string, flags ...string) string {
	t.Helper()
	return slowly(t, append(append([]string{"go", "tool", "pprof", "-symbolize=none"}, flags...), file)...)
}

// By both ways, with frame pointers and without, the functions have their shares, and the static initialiser has its own.
func TestProfileFromTheFirstInstruction(t *testing.T) {
	for _, one := range []struct{ method, elf, cpu string }{
		{"perf", "burn", "2000"}, {"perf", "burn-nofp", "2000"}, {"ptrace", "burn", "3000"}, {"ptrace", "burn-static", "3000"},
	} {
		t.Run(one.method+" "+one.elf, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "start.pb.gz")
			frequency := map[string]string{"perf": "499", "ptrace": "49"}[one.method]
			p := profiler(t, "--method", one.method, "--frequency", frequency, "-o", file, "--", fixture(t, "bin/test/"+one.elf), one.cpu)
			if status := p.status(); status.ExitStatus() != 0 {
				t.Fatalf("exit status %d", status.ExitStatus())
			}
			p.err.end(t)
			said := p.err.String()
			got := opened(t, file)
			tells(t, got, said)
			commented(t, got, "by "+map[string]string{"perf": "perf_event_open", "ptrace": "ptrace"}[one.method], "from the first instruction")
			if one.method == "ptrace" {
				commented(t, got, "slowed down: threads that ran stood still for ", " % of the time")
			}
			contains(t, p.err.String(), " samples of ", "SELF", "hot")
			if flat, _ := spent(t, ofThread(got, "warmer"), "cpu"); flat["warm"] == 0 || flat["hot"] != 0 {
				t.Errorf("the thread that is warmer spends %v", flat)
			}

			// A sleeping thread is seen where it sleeps, for as long as it does.
			_, slept := spent(t, ofThread(got, "sleeper"), "offcpu")
			want := truth(t, said)["sleeper"]
			within := map[string]float64{"perf": 0.1, "ptrace": 0.25}[one.method] // it is asleep from one stop to another
			if share := float64(slept) / float64(want); punctual && math.Abs(share-1) > within {
				t.Errorf("the sleeper sleeps for %d ns in the profile, in truth %d", slept, want)
			}
			if one.elf != "burn-nofp" && !slices.ContainsFunc(got.Sample, func(s *profile.Sample) bool {
				return len(s.Location) > 1 && functionOf(s.Location[0]) == "hot" && functionOf(s.Location[1]) == "caller_of_hot"
			}) {
				t.Errorf("nobody calls hot: %s", got)
			}
			if got.TimeNanos == 0 || got.DurationNanos == 0 || got.Period == 0 {
				t.Errorf("time %d, duration %d, period %d", got.TimeNanos, got.DurationNanos, got.Period)
			}
			if info, err := elfinfo.Read(fixture(t, "bin/test/"+one.elf)); err != nil || info.BuildID == "" || got.Mapping[0].BuildID != info.BuildID {
				t.Errorf("the build-id is %q, want %q, %v", got.Mapping[0].BuildID, info.BuildID, err)
			}
		})
	}
}

func TestPprofShowsAProfile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "start.pb.gz")
	run(t, cli(t), "profile", "--frequency", "499", "-o", file, "--", fixture(t, "bin/test/burn"), "2000")
	contains(t, pprofTop(t, file, "-top"), "Type: cpu", "hot\n", "warm\n")
	warmer := pprofTop(t, file, "-top", "-tagfocus=thread=warmer")
	contains(t, warmer, "warm\n")
	lacks(t, warmer, "hot\n")
	contains(t, pprofTop(t, file, "-peek", "^hot$"), "caller_of_hot", "hot")
}

// ofThread is the part of a profile of threads of that name.
func ofThread(p *profile.Profile, name string) *profile.Profile {
	part := p.Copy()
	part.Sample = slices.DeleteFunc(part.Sample, func(s *profile.Sample) bool { return !slices.Contains(s.Label["thread"], name) })
	return part
}

// The loader's own work, before main and before any static initialiser, is in the profile of a dynamic program. A profiler that comes late sees neither.
func TestProfileSeesTheLoader(t *testing.T) {
	seen := func(held bool) map[string]bool {
		file := filepath.Join(t.TempDir(), "p.pb.gz")
		s := hold(t, "pause", fixture(t, "bin/test/burn"), "1500")
		if !held {
			run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
			eventually(t, "burn is past its static initialiser", func() bool {
				threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", s.pid()))
				return len(threads) > 1
			})
		}
		run(t, cli(t), "profile", "--method", "perf", "--frequency", "5000", "--pid", strconv.Itoa(s.pid()), "-o", file)
		names := map[string]bool{}
		for _, sample := range opened(t, file).Sample {
			for _, l := range sample.Location {
				for _, line := range l.Line {
					names[line.Function.Name] = true
				}
				if l.Mapping != nil {
					names[filepath.Base(l.Mapping.File)] = true
				}
			}
		}
		return names
	}
	loader := filepath.Base(strings.Fields(run(t, "sh", "-c", "readelf -lW "+fixture(t, "bin/test/burn")+" | sed -n 's/.*interpreter: \\(.*\\)]/\\1/p'"))[0])
	early := seen(true)
	for _, name := range []string{loader, "static_init", "hot", "warm"} {
		if !early[name] {
			t.Errorf("no sample of %s in %v", name, slices.Sorted(maps.Keys(early)))
		}
	}
	late := seen(false)
	for name, want := range map[string]bool{"static_init": false, "hot": true} {
		if late[name] != want {
			t.Errorf("of a late profiler: sample of %s: %t", name, late[name])
		}
	}
}

// Debian's perf says the same of the same program.
func TestProfileAgreesWithPerf(t *testing.T) {
	dir := t.TempDir()
	elf := fixture(t, "bin/test/burn")
	slowly(t, "perf", "record", "-q", "-g", "-F", "499", "-e", "cpu-clock", "-o", filepath.Join(dir, "perf.data"), elf, "3000")
	report := slowly(t, "perf", "report", "-i", filepath.Join(dir, "perf.data"), "--no-children", "--stdio", "-g", "none", "-F", "overhead,sym")
	run(t, cli(t), "profile", "--method", "perf", "--frequency", "499", "-o", filepath.Join(dir, "p.pb.gz"), "--", elf, "3000")
	got, all := spent(t, opened(t, filepath.Join(dir, "p.pb.gz")), "cpu")
	for _, name := range []string{"static_init", "hot", "warm", "cool"} {
		theirs := -1.0
		for line := range strings.Lines(report) {
			if f := strings.Fields(line); len(f) == 3 && f[2] == name {
				theirs, _ = strconv.ParseFloat(strings.TrimSuffix(f[0], "%"), 64)
			}
		}
		if ours := 100 * float64(got[name]) / float64(all); math.Abs(ours-theirs) > 100*points {
			t.Errorf("%s has %.1f %%, by perf %.1f %%", name, ours, theirs)
		}
	}
}

// It ends early when it is told to, and has what there was until then: the program goes on, or, if the command has started it, ends.
func TestProfileEndsEarly(t *testing.T) {
	for _, method := range []string{"perf", "ptrace"} {
		for _, how := range []string{"duration", "interrupt", "killed"} {
			t.Run(method+" "+how, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "p.pb.gz")
				s := hold(t, "pause", standin(t), "--config-yaml", bootstrap(freePort(t)))
				args := []string{"--method", method, "--pid", strconv.Itoa(s.pid()), "-o", file}
				if how == "duration" {
					args = append(args, "--duration", "500ms")
				}
				p := profiler(t, args...)
				s.err.await(t, "starting main dispatch loop")
				switch how {
				case "interrupt":
					must(t, p.cmd.Process.Signal(os.Interrupt))
				case "killed":
					must(t, syscall.Kill(s.pid(), syscall.SIGKILL))
				}
				if status := p.status(); status.ExitStatus() != 0 {
					t.Fatalf("exit status %d", status.ExitStatus())
				}
				opened(t, file)
				if how != "killed" {
					gone(t, s.pid())
				}
			})
		}
	}
	t.Run("a child", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "p.pb.gz")
		elf := filepath.Join(sharedDir(t), unique("prof"))
		copyFile(t, standin(t), elf)
		p := profiler(t, "-o", file, "--duration", "500ms", "--", elf, "--config-yaml", bootstrap(freePort(t)))
		p.status()
		opened(t, file)
		findNone(t, nil, "--exe", elf)
	})
}

// However often a process is sampled by ptrace, it runs on: no stop of the sampler's is left behind for it.
func TestProfileLeavesNoStop(t *testing.T) {
	p := start(t, nil, fixture(t, "bin/test/waits"), "60000")
	file := filepath.Join(t.TempDir(), "p.pb.gz")
	for n := range 20 {
		run(t, cli(t), "profile", "--method", "ptrace", "--duration", fmt.Sprintf("%dms", 100+7*n), "--pid", strconv.Itoa(p.pid()), "-o", file)
		if st := state(t, p.pid()); st != "S" && st != "R" || tracer(t, p.pid()) != 0 {
			t.Fatalf("after %d times the program is in state %s, traced by %d", n+1, st, tracer(t, p.pid()))
		}
	}
}

// By ptrace a sleep is interrupted once at each place where a thread sleeps, however long it is sampled, and the profile says how often that was.
func TestProfileLeavesSleepersAsleep(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.pb.gz")
	elf := fixture(t, "bin/test/waits")
	for _, one := range []struct {
		name string
		run  func() (said string)
		once int // how often each sleep may be interrupted
	}{
		{"from the first instruction on", func() string {
			p := profiler(t, "--method", "ptrace", "-o", file, "--", elf, "3000")
			p.status()
			p.err.end(t)
			return p.err.String()
		}, 1},
		{"by the supervisor", func() string {
			s := hold(t, "debug", elf, "3000")
			run(t, cli(t), "profile", "--method", "ptrace", "--pid", strconv.Itoa(s.pid()), "-o", file)
			s.out.end(t)
			return s.out.String()
		}, 1},
		{"in its midst", func() string { // the attach stops all threads, the detach does
			p := start(t, nil, elf, "4000")
			eventually(t, "its threads wait", func() bool {
				comms, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", p.pid()))
				return len(comms) == 5
			})
			run(t, cli(t), "profile", "--method", "ptrace", "--duration", "2s", "--pid", strconv.Itoa(p.pid()), "-o", file)
			p.status()
			p.out.end(t)
			return p.out.String()
		}, 2},
	} {
		t.Run(one.name, func(t *testing.T) {
			said := one.run()
			n := map[string]int{}
			for line := range strings.Lines(said) {
				var name string
				var is int
				if k, _ := fmt.Sscanf(line, "%s %d\n", &name, &is); k == 2 {
					n[name] = is
				}
			}
			// The worker may begin to wait just as it is to be stopped where it runs.
			if n["calls"] == 0 || n["idle"] < 3 || n["idle"] > 3*one.once || n["worker"] > 2*one.once+n["calls"]/20 {
				t.Errorf("interrupted too often: %v", n)
			}
			got := opened(t, file)
			commented(t, got, fmt.Sprintf("%d calls that wait, as epoll_wait(2), ended with EINTR", n["idle"]+n["worker"]))
			// Of those that are left asleep the stack and the time are known all the same.
			for thread, callers := range map[string][]string{"idler": {"idler"}, "worker": {"one_place", "other_place"}} {
				part := ofThread(got, thread)
				_, slept := spent(t, part, "offcpu")
				in := map[string]int64{}
				for _, s := range part.Sample {
					for _, l := range s.Location {
						for _, line := range l.Line {
							in[line.Function.Name] += s.Value[2]
						}
					}
				}
				for _, caller := range callers {
					if share := float64(in[caller]) / float64(slept); math.Abs(share-1/float64(len(callers))) > 0.25 {
						t.Errorf("%s sleeps %.2f of the time in %s: %v", thread, share, caller, in)
					}
				}
			}
		})
	}
}

// Where the supervisor is the tracer, it samples: the same profile comes of it.
func TestProfileByTheSupervisor(t *testing.T) {
	s := hold(t, "debug", fixture(t, "bin/test/burn"), "4000")
	file := filepath.Join(t.TempDir(), "p.pb.gz")
	p := profiler(t, "--method", "ptrace", "--pid", strconv.Itoa(s.pid()), "-o", file)
	s.event("attached")
	s.status()
	if status := p.status(); status.ExitStatus() != 0 {
		t.Fatalf("exit status %d", status.ExitStatus())
	}
	s.out.end(t)
	tells(t, opened(t, file), s.out.String())
}

// In mode profile nobody need ask in time: the supervisor has the start sampled, and keeps the profile for whoever fetches it.
func TestProfileKept(t *testing.T) {
	s := start(t, append(shimEnv("profile", fixture(t, "bin/test/burn")), "ENVOYSHIM_PROFILE_ARGS=--frequency 499 --duration 2s"), append(shimCommand(t), "8000")...)
	s.event("resumed")
	cmd := exec.Command(cli(t), "profile", "--pid", strconv.Itoa(s.pid()), "-o", "-")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, said.String())
	}
	p, err := profile.Parse(&out)
	must(t, err)
	if got, _ := spent(t, p, "cpu"); got["static_init"] == 0 {
		t.Errorf("no sample of the static initialiser: %v", got)
	}
	s.err.await(t, "sampled by perf_event_open") // the summary is in the container's log
}

// A process that runs, and makes threads while the events are opened: each is counted, and none of them twice.
func TestProfileOfARunningProcess(t *testing.T) {
	elf := filepath.Join(sharedDir(t), unique("running"))
	copyFile(t, fixture(t, "bin/test/burn"), elf)
	p := start(t, nil, elf, "6000")
	before, err := procfs.ReadStat(p.pid())
	must(t, err)
	must(t, os.Remove(elf)) // a later build is there now, whose names are none of this one's
	copyFile(t, fixture(t, "bin/test/burn-nofp"), elf)
	file := filepath.Join(t.TempDir(), "p.pb.gz")
	run(t, cli(t), "profile", "--method", "perf", "--frequency", "499", "--pid", strconv.Itoa(p.pid()), "-o", file)
	p.status()
	usage := p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime() - time.Duration(before.UTime+before.STime)*procfs.Tick
	got := opened(t, file)
	flat, all := spent(t, got, "cpu")
	if id := got.Mapping[0].BuildID; flat["hot"] == 0 || id == "" || !strings.Contains(run(t, "readelf", "-n", fixture(t, "bin/test/burn")), id) {
		t.Errorf("the build-id is %q; %v", id, flat)
	}
	if share := float64(all) / float64(usage); share < 0.85 || share > 1.1 {
		t.Errorf("%s of CPU time in the profile, %s by wait(2)", time.Duration(all), usage)
	}
}

// sampledByPerf waits until a profiler has its events open.
func sampledByPerf(t testing.TB, profiler *process) {
	t.Helper()
	eventually(t, "the profiler has mapped its records", func() bool {
		maps, _ := os.ReadFile(fmt.Sprintf("/proc/%d/maps", profiler.pid()))
		return bytes.Count(maps, []byte("[perf_event]")) == runtime.NumCPU()
	})
}

// The first of the threads that were there may end before the others: what those do is still read, also when it is more than is kept for a while.
func TestProfileWithoutTheMainThread(t *testing.T) {
	p := start(t, nil, fixture(t, "bin/test/burn"), "4000", "leave")
	p.out.await(t, "ready")
	file := filepath.Join(t.TempDir(), "p.pb.gz")
	s := profiler(t, "--method", "perf", "--frequency", "4999", "--pid", strconv.Itoa(p.pid()), "-o", file)
	sampledByPerf(t, s)
	must(t, syscall.Kill(p.pid(), syscall.SIGUSR1))
	p.status()
	s.status()
	p.out.end(t)
	_, said, _ := strings.Cut(p.out.String(), "hot ")
	want, err := strconv.ParseFloat(strings.TrimSpace(said), 64)
	must(t, err)
	if got, _ := spent(t, opened(t, file), "cpu"); float64(got["hot"]) < 0.8*want {
		t.Errorf("hot has %d ns in the profile, in truth %.0f", got["hot"], want)
	}
}

// What is in no sample is told, also of a process that has ended: the time of threads that live for less than a period, and records for which
// there was no room.
func TestProfileTellsWhatIsMissing(t *testing.T) {
	t.Run("short threads", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "p.pb.gz")
		p := profiler(t, "--method", "perf", "-o", file, "--", fixture(t, "bin/test/crowd"), "20", "40000")
		p.status()
		used := p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime() // with that of the child
		got := opened(t, file)
		_, all := spent(t, got, "cpu")
		i := slices.IndexFunc(got.Comments, func(c string) bool { return strings.Contains(c, " of CPU time are in no sample: ") })
		if i < 0 {
			t.Fatalf("%s of CPU time in the profile, at most %s in truth: %q", time.Duration(all), used, got.Comments)
		}
		missing, err := time.ParseDuration(strings.Fields(got.Comments[i])[0])
		must(t, err)
		if missing > used {
			t.Errorf("%s of CPU time in no sample, at most %s in truth", missing, used)
		}
	})
	t.Run("records", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "p.pb.gz")
		s := hold(t, "pause", fixture(t, "bin/test/crowd"), "20", "20000")
		p := profiler(t, "--method", "perf", "--pid", strconv.Itoa(s.pid()), "-o", file)
		eventually(t, "it runs", func() bool { return state(t, s.pid()) != "T" })
		must(t, p.cmd.Process.Signal(syscall.SIGSTOP))
		s.status() // it has ended: nothing comes after what was lost
		must(t, p.cmd.Process.Signal(syscall.SIGCONT))
		p.status()
		commented(t, opened(t, file), " records were lost: the machine was too busy to read them")
	})
}

// Whoever waits when the sampling ends has waited until then.
func TestProfileSeesWhoNeverWakes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.pb.gz")
	run(t, cli(t), "profile", "--method", "perf", "--duration", "2s", "-o", file, "--", "/bin/sleep", "1000")
	p := opened(t, file)
	if _, slept := spent(t, p, "offcpu"); slept < p.DurationNanos/2 {
		t.Errorf("%s off a CPU, of %s", time.Duration(slept), time.Duration(p.DurationNanos))
	}
}

// A user without privileges may lock little memory for the records: it is shared by all CPUs, and what it cannot hold is read in time.
func TestProfileWithLittleMemory(t *testing.T) {
	dir := sharedDir(t)
	own, elf := filepath.Join(dir, "envoyshim"), filepath.Join(dir, "burn")
	copyFile(t, cli(t), own)
	copyFile(t, fixture(t, "bin/test/burn"), elf)
	must(t, os.Chmod(dir, 0o777))
	as := func(kilobytes int, words ...string) *process {
		return start(t, nil, append([]string{"setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "prlimit", fmt.Sprintf("--memlock=%d", kilobytes<<10), own, "profile", "--method", "perf"}, words...)...)
	}
	other := as(0, "-o", filepath.Join(dir, "other"), "--", "/bin/sleep", "1000") // has what each user may have for each CPU
	sampledByPerf(t, other)
	file := filepath.Join(dir, "p.pb.gz")
	p := as(80*runtime.NumCPU(), "--frequency", "999", "-o", file, "--", elf, "3000")
	if status := p.status(); status.ExitStatus() != 0 {
		t.Fatalf("exit status %d", status.ExitStatus())
	}
	p.err.end(t)
	tells(t, opened(t, file), p.err.String())
	must(t, other.cmd.Process.Signal(os.Interrupt))
	other.status()
}

// Libraries come and go, and one lies where another lay: each has the samples that were taken while it was there.
func TestProfileOfLibrariesThatComeAndGo(t *testing.T) {
	dir := sharedDir(t)
	names := []string{"first.so", "second.so", "third.so"}
	for _, name := range names {
		copyFile(t, fixture(t, "bin/test/libplugin.so"), filepath.Join(dir, name))
	}
	const script = `import ctypes, _ctypes, sys
for name in sys.argv[1:]:
    library = ctypes.CDLL(name)
    library.plugin(ctypes.c_long(300000000))
    _ctypes.dlclose(library._handle)`
	for _, method := range []string{"perf", "ptrace"} {
		t.Run(method, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "p.pb.gz")
			argv := []string{cli(t), "profile", "--method", method, "-o", file, "--", "/usr/bin/python3", "-c", script}
			for _, name := range names {
				argv = append(argv, filepath.Join(dir, name))
			}
			run(t, argv...)
			samples := map[string]int64{}
			for _, s := range opened(t, file).Sample {
				if m := s.Location[0].Mapping; m != nil {
					samples[filepath.Base(m.File)] += s.Value[0]
				}
			}
			for _, name := range names {
				if samples[name] < 5 {
					t.Errorf("%d samples of %s: %v", samples[name], name, samples)
				}
			}
		})
	}
}

// A program that executes another is followed: what the new one does is named by the new one's symbols.
func TestProfileFollowsAnExec(t *testing.T) {
	for _, method := range []string{"perf", "ptrace"} {
		t.Run(method, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "p.pb.gz")
			p := profiler(t, "--method", method, "-o", file, "--", "/bin/sh", "-c", `exec "$0" 2000`, fixture(t, "bin/test/burn"))
			p.status()
			got, _ := spent(t, opened(t, file), "cpu")
			for _, name := range []string{"static_init", "hot", "warm"} {
				if got[name] == 0 {
					t.Errorf("no sample of %s: %v", name, got)
				}
			}
		})
	}
}

// The summary as JSON, and the profile on standard output, as through kubectl exec.
func TestProfileOutput(t *testing.T) {
	elf := fixture(t, "bin/test/burn")
	cmd := exec.Command(cli(t), "profile", "--frequency", "499", "-o", "-", "--json", "--", elf, "1000")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	must(t, cmd.Run())
	p, err := profile.Parse(&out)
	must(t, err)
	_, all := spent(t, p, "samples")
	_, summary, _ := strings.Cut(said.String(), "{")
	var s struct {
		Samples int64
		Top     []struct{ Function string }
	}
	must(t, json.Unmarshal([]byte("{"+summary), &s))
	if s.Samples != all || len(s.Top) == 0 || s.Top[0].Function != "hot" {
		t.Errorf("%+v, and %d samples in the profile", s, all)
	}
}

// The real Envoy: its calls are followed to their beginning, and all stays nameable by the build-id.
func TestProfileOfTheRealEnvoy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.pb.gz")
	p := profiler(t, "--frequency", "4999", "--duration", "3s", "-o", file, "--", realEnvoy(t), "--config-yaml", bootstrap(freePort(t)), "--base-id", fmt.Sprint(os.Getpid()))
	if status := p.status(); status.ExitStatus() != 0 {
		t.Fatalf("exit status %d", status.ExitStatus())
	}
	got := opened(t, file)
	if id := got.Mapping[0].BuildID; !strings.Contains(run(t, "readelf", "-n", realEnvoy(t)), id) || id == "" {
		t.Errorf("the build-id is %q", id)
	}
	whole, inEnvoy := 0, 0
	for _, s := range got.Sample {
		if s.Value[0] == 0 || !slices.ContainsFunc(s.Location, func(l *profile.Location) bool { return l.Mapping == got.Mapping[0] }) {
			continue
		}
		inEnvoy++
		if len(s.Location) >= 3 {
			whole++
		}
	}
	if inEnvoy < 10 || whole < inEnvoy*8/10 {
		t.Errorf("%d of %d samples in Envoy have their callers", whole, inEnvoy)
	}
}

// A stripped program's addresses are named later, by the file that has its symbols.
func TestProfileOfAStrippedProgram(t *testing.T) {
	dir := t.TempDir()
	stripped := filepath.Join(dir, "burn")
	run(t, "strip", "-o", stripped, fixture(t, "bin/test/burn"))
	file := filepath.Join(dir, "p.pb.gz")
	run(t, cli(t), "profile", "--method", "perf", "--frequency", "499", "-o", file, "--", stripped, "1000")
	if got, _ := spent(t, opened(t, file), "cpu"); got["hot"] != 0 {
		t.Fatalf("a stripped program has names: %v", got)
	}
	contains(t, slowly(t, "go", "tool", "pprof", "-top", fixture(t, "bin/test/burn"), file), "%  hot\n", "%  warm\n")
}

// On the node, a program of a pod: its files are the pod's.
func TestProfileOfAPod(t *testing.T) {
	elf := filepath.Join(sharedDir(t), unique("burner"))
	copyFile(t, fixture(t, "bin/test/burn"), elf)
	for _, method := range []string{"perf", "ptrace"} {
		t.Run(method, func(t *testing.T) {
			host := unique("profpod")
			barePod(t, host, elf, "4000")
			file := filepath.Join(t.TempDir(), "p.pb.gz")
			run(t, cli(t), "profile", "--method", method, "--frequency", "499", "--pod", host, "--comm", filepath.Base(elf), "-o", file)
			got, all := spent(t, opened(t, file), "cpu")
			if named := got["hot"] + got["warm"] + got["cool"] + got["static_init"]; float64(named) < 0.9*float64(all) {
				t.Errorf("%v of %d", got, all)
			}
		})
	}
}

func TestProfileRefuses(t *testing.T) {
	for _, one := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"--pid", "1", "-o", "x", "--", "/bin/true"}, 2, "say what is to be profiled"},
		{[]string{"--pid", "1", "-o", "x", "--until", "foo"}, 2, `--until must be one of "live","exit" but got "foo";`},
		{[]string{"--pid", "1"}, 2, "say where the profile goes"},
		{[]string{"--pid", "1", "-o", "x", "--frequency", "0"}, 2, "--frequency: 0 Hz is not from 1 to"},
		{[]string{"--pid", "99999999", "-o", "x"}, 1, "process 99999999"},
		{[]string{"-o", "/absent/x", "--", "/bin/true"}, 1, "write /absent/x: no such file or directory; - writes"},
	} {
		out, status := runAny(t, append([]string{cli(t), "profile"}, one.args...)...)
		if status != one.status || !strings.Contains(out, one.says) || strings.Count(out, "\n") != 1 {
			t.Errorf("%v: exit status %d: %s", one.args, status, out)
		}
	}
}

// The ELF's status is the command's where the ELF has ended first.
func TestProfileOfAnELFThatEndsByItself(t *testing.T) {
	for _, method := range []string{"perf", "ptrace"} {
		file := filepath.Join(t.TempDir(), "p.pb.gz")
		out, status := runAny(t, cli(t), "profile", "--method", method, "--until", "live", "-o", file, "--", "/bin/sh", "-c", "exit 3")
		if status != 3 || strings.Contains(out, "goes on") {
			t.Errorf("%s: exit status %d: %s", method, status, out)
		}
		contains(t, out, "# the process ended by itself: exit status 3")
	}
}

// A process that may not be looked into is refused in one line, which names the capability that is missing.
func TestProfileRefusedByTheKernel(t *testing.T) {
	dir := sharedDir(t)
	own, sleep := filepath.Join(dir, "envoyshim"), filepath.Join(dir, "sleep")
	copyFile(t, cli(t), own)
	copyFile(t, "/bin/sleep", sleep)
	must(t, os.Chmod(dir, 0o777))
	user := []string{"setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"}
	// The capability cap_net_bind_service, in the file (struct vfs_cap_data, revision 2): a process of it may be looked into only by those who have it, too.
	must(t, unix.Setxattr(sleep, "security.capability", []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0))
	p := start(t, nil, append(user, sleep, "1000")...)
	eventually(t, "it sleeps", func() bool { return procfs.Comm(p.pid()) == "sleep" })
	out, status := runAny(t, append(user, own, "profile", "--pid", strconv.Itoa(p.pid()), "-o", filepath.Join(dir, "p.pb.gz"))...)
	if status != 1 || strings.Count(out, "\n") != 1 || !strings.Contains(out, "CAP_SYS_PTRACE is missing; ") {
		t.Errorf("exit status %d: %s", status, out)
	}
}
