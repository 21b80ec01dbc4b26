//go:build !guest

package test

import (
	"strings"
	"testing"
)

// On Debian's kernel 6.1, of both architectures: the structures are others there, and the hierarchy of cgroups is one.
func TestEBPFOnDebiansKernel(t *testing.T) {
	for arch, bin := range map[string]string{"amd64": "bin/", "arm64": "bin/arm64/"} {
		t.Run(arch, func(t *testing.T) {
			files := map[string]string{}
			for _, name := range []string{"test/guest.test", "test/catcher", "test/probe"} {
				files["/project/bin/"+name] = fixture(t, bin+name)
			}
			job, want := "set -e\nuname -r\nmount -t cgroup2 cgroup2 /sys/fs/cgroup\n", []string(nil)
			for _, tests := range []struct{ name, some string }{
				{"TestEBPFCatchesAtTheFirstInstruction", "/^probe$"},
				{"TestEBPFByPod", "/^(web-1.web.default.svc.cluster.local|not)$/^(web-1.web)?$"},
				{"TestEBPFByCgroup", "/^$/^(pod|container|not)$/^(systemd|short|only_one)$"},
				{"TestEBPFSkipsAndCounts", ""},
			} {
				job += testsInGuest("^" + tests.name + "$" + tests.some)
				want = append(want, "--- PASS: "+tests.name)
			}
			console := inGuest(t, arch, job, files)
			reached(t, console, want...)
			contains(t, strings.Join(console, "\n"), "6.1.")
		})
	}
}
