//go:build !guest

package test

import "testing"

// The shim, the hold, debuggers, crashes and the real Envoy on the other architecture, in a guest that emulates it.
func TestOnARM64(t *testing.T) {
	files := map[string]string{
		"/cache/envoyshim/dlv/dlv":            fixture(t, "bin/arm64/test/dlv"),
		"/cache/envoyshim/envoy-1.40.0/envoy": cached(t, "envoy-1.40.0-arm64/envoy"),
	}
	for _, name := range []string{"envoyshim", "kubectl-envoyshim", "test/guest.test", "test/probe", "test/parent", "test/gocrowd", "test/crash"} {
		files["/project/bin/"+name] = fixture(t, "bin/arm64/"+name)
	}
	job := "set -e\necho 1 >/proc/sys/kernel/yama/ptrace_scope\n" +
		"mount -t cgroup2 cgroup2 /sys/fs/cgroup\n" + testsInGuest("^(TestFindInNamespacesOfItsOwn|TestFindByCgroup|TestFindSaysWhatItCannotSee)$") +
		testsInGuest("^(TestParity|TestHeldAtACrash|TestStepsOverASystemCall|TestYamaAllows)$") + testsInGuest("^TestCrashUnderAPodsConditions$/^pid1=true$/trap|abort") + testsInGuest("^TestRealEnvoyIsHeldAndGoesLive$/^1.40.0$")
	reached(t, inGuest(t, "arm64", job, files),
		"--- PASS: TestFindInNamespacesOfItsOwn", "--- PASS: TestFindByCgroup", "--- PASS: TestFindSaysWhatItCannotSee",
		"--- PASS: TestHeldAtACrash", "--- PASS: TestStepsOverASystemCall", "--- PASS: TestParity", "--- PASS: TestYamaAllows",
		"--- PASS: TestCrashUnderAPodsConditions", "--- PASS: TestRealEnvoyIsHeldAndGoesLive")
}
