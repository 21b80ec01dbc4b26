//go:build !guest

package test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// All scopes of Yama, which this machine's kernel may not have, one after the other: 3 cannot be left.
func TestYama(t *testing.T) {
	job, want := "set -e\n", []string(nil)
	for scope, tests := range [][]string{
		{"TestYamaAllows"},
		{"TestYamaAllows"},
		{"TestYamaRefuses", "TestYamaAndRoot", "TestYamaRaised"},
		{"TestYamaRefuses", "TestYamaAndRoot"},
	} {
		job += fmt.Sprintf("echo %d >/proc/sys/kernel/yama/ptrace_scope\nsed 's/^/scope /' /proc/sys/kernel/yama/ptrace_scope\n", scope) + testsInGuest("^("+strings.Join(tests, "|")+")$")
		want = append(want, fmt.Sprintf("scope %d", scope))
		for _, name := range tests {
			want = append(want, "--- PASS: "+name)
		}
	}
	files := map[string]string{"/cache/envoyshim/dlv/dlv": cached(t, "dlv/dlv")}
	for _, path := range []string{"bin/envoyshim", "bin/kubectl-envoyshim", "bin/test/guest.test", "bin/test/probe", "bin/test/gocrowd", "bin/test/crash"} {
		files["/project/"+path] = fixture(t, path)
	}
	reached(t, inGuest(t, runtime.GOARCH, job, files), want...)
}
