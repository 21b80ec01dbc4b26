//go:build !cluster

package test

import (
	"fmt"
	"os"
	"runtime"
	"testing"
)

// Tests that give their thread a network of its own, or another namespace, end it. The first thread does not end, and its namespaces are
// those of the process for whoever looks from outside: it stays with the main goroutine, which runs no test.
func init() { runtime.LockOSThread() }

// On a cluster everything but the client is elsewhere.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "run these tests as root: they make namespaces and change uids")
		os.Exit(1)
	}
	os.Exit(m.Run())
}
