//go:build !guest

package test

import (
	"maps"
	"strings"
	"testing"
)

// onARM64 starts a guest of the other architecture, which is emulated, with the real Envoy and programs of bin/arm64.
func onARM64(t *testing.T, job string, files map[string]string, programs ...string) []string {
	t.Helper()
	all := map[string]string{"/cache/envoyshim/envoy-1.40.0/envoy": cached(t, "envoy-1.40.0-arm64/envoy")}
	maps.Copy(all, files)
	for _, name := range append(programs, "envoyshim", "test/guest.test", "test/probe") {
		all["/project/bin/"+name] = fixture(t, "bin/arm64/"+name)
	}
	return inGuest(t, "arm64", "set -e\n"+job, all)
}

// The shim, the hold, debuggers, crashes and the real Envoy on the other architecture.
func TestOnARM64(t *testing.T) {
	job := "echo 1 >/proc/sys/kernel/yama/ptrace_scope\n" +
		"mount -t cgroup2 cgroup2 /sys/fs/cgroup\n" + testsInGuest("^(TestFindInNamespacesOfItsOwn|TestFindByCgroup|TestFindSaysWhatItCannotSee)$") +
		testsInGuest("^(TestParity|TestHeldAtACrash|TestStepsOverASystemCall|TestYamaAllows)$") + testsInGuest("^TestCrashUnderAPodsConditions$/^pid1=true$/trap|abort") + testsInGuest("^TestRealEnvoyIsHeldAndGoesLive$/^1.40.0$")
	job += "mkdir -p /dev/pts\nmount -t devpts devpts /dev/pts\n"
	var nsexec []string
	for _, name := range []string{"EntersNamespaces", "Time", "User", "MountsProc", "PassesSignals", "StopsAndContinues", "Inherits", "Refuses", "OnTerminal"} {
		job += testsInGuest("^TestNsexec" + name + "$")
		nsexec = append(nsexec, "--- PASS: TestNsexec"+name)
	}
	console := onARM64(t, job, map[string]string{"/cache/envoyshim/dlv/dlv": fixture(t, "bin/arm64/test/dlv")}, "kubectl-envoyshim", "test/parent", "test/gocrowd", "test/crash", "test/hear")
	reached(t, console, append([]string{
		"--- PASS: TestFindInNamespacesOfItsOwn", "--- PASS: TestFindByCgroup", "--- PASS: TestFindSaysWhatItCannotSee",
		"--- PASS: TestHeldAtACrash", "--- PASS: TestStepsOverASystemCall", "--- PASS: TestParity", "--- PASS: TestYamaAllows",
		"--- PASS: TestCrashUnderAPodsConditions", "--- PASS: TestRealEnvoyIsHeldAndGoesLive",
	}, nsexec...)...)
}

// Traces, profiles and the timeline there.
func TestObserveOnARM64(t *testing.T) {
	traced := []string{"Recursion", "Unwound", "ConstructorsHitOnce", "IndirectFunction", "SocketsInLibc", "SystemCalls", "Places", "Threads",
		"WaitsAreNotInterrupted", "TimeoutsGoOn", "SignalsEndWaits", "LibraryThatComesLater", "Exec", "Stop"}
	job, want := "TRACED=../bin/test/traced ../bin/test/trace.test -test.v -test.timeout 10m -test.run '^Test("+strings.Join(traced, "|")+")$'\n", []string{}
	for _, name := range traced {
		want = append(want, "--- PASS: Test"+name)
	}
	for _, c := range [][2]string{
		{"TestTraceTellsSystemCallsAsStraceDoes", "^(C..|static)$"}, {"TestTraceOfOtherPrograms", "^(by_name|static|static_PIE|Go)$"},
		{"TestTraceTellsListeners", ""}, {"TestTraceOfAStrippedELF", ""},
		{"TestProfileFromTheFirstInstruction", "^(perf_burn|ptrace_burn-static)$"},
		{"TestTimelineOfTheRealEnvoy", ""},
		{"TestModeTraceToTheEnd", ""}, {"TestModesEndByThemselves", ""},
	} {
		job += testsInGuest("^" + c[0] + "$/" + c[1])
		want = append(want, "--- PASS: "+c[0])
	}
	reached(t, onARM64(t, job, nil, "test/trace.test", "test/traced/traced", "test/traced/static", "test/traced/stripped", "test/traced/liblate.so",
		"test/probe-static", "test/probe-static-pie", "test/goprog", "test/burn", "test/burn-static"), want...)
}
