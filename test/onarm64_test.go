//go:build !guest

package test

import "testing"

// The shim, the hold, debuggers, crashes and the real Envoy on the other architecture, in a guest that emulates it.
func TestOnARM64(t *testing.T) {
	files := map[string]string{
		"/cache/envoyshim/dlv/dlv":            fixture(t, "bin/arm64/test/dlv"),
		"/cache/envoyshim/envoy-1.40.0/envoy": cached(t, "envoy-1.40.0-arm64/envoy"),
	}
	for _, name := range []string{"envoyshim", "kubectl-envoyshim", "test/guest.test", "test/probe", "test/parent", "test/gocrowd", "test/crash", "test/hear"} {
		files["/project/bin/"+name] = fixture(t, "bin/arm64/"+name)
	}
	job := "set -e\necho 1 >/proc/sys/kernel/yama/ptrace_scope\n" +
		"mount -t cgroup2 cgroup2 /sys/fs/cgroup\n" + testsInGuest("^(TestFindInNamespacesOfItsOwn|TestFindByCgroup|TestFindSaysWhatItCannotSee)$") +
		testsInGuest("^(TestParity|TestHeldAtACrash|TestStepsOverASystemCall|TestYamaAllows)$") + testsInGuest("^TestCrashUnderAPodsConditions$/^pid1=true$/trap|abort") + testsInGuest("^TestRealEnvoyIsHeldAndGoesLive$/^1.40.0$")
	job += "mkdir -p /dev/pts\nmount -t devpts devpts /dev/pts\n"
	var nsexec []string
	for _, name := range []string{"EntersNamespaces", "Time", "User", "MountsProc", "PassesSignals", "StopsAndContinues", "Inherits", "Refuses", "OnTerminal"} {
		job += testsInGuest("^TestNsexec" + name + "$")
		nsexec = append(nsexec, "--- PASS: TestNsexec"+name)
	}
	reached(t, inGuest(t, "arm64", job, files), append([]string{
		"--- PASS: TestFindInNamespacesOfItsOwn", "--- PASS: TestFindByCgroup", "--- PASS: TestFindSaysWhatItCannotSee",
		"--- PASS: TestHeldAtACrash", "--- PASS: TestStepsOverASystemCall", "--- PASS: TestParity", "--- PASS: TestYamaAllows",
		"--- PASS: TestCrashUnderAPodsConditions", "--- PASS: TestRealEnvoyIsHeldAndGoesLive",
	}, nsexec...)...)
}
