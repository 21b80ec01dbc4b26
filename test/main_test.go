//go:build !cluster

package test

import (
	"fmt"
	"os"
	"testing"
)

// On a cluster everything but the client is elsewhere.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "run these tests as root: they make namespaces and change uids")
		os.Exit(1)
	}
	os.Exit(m.Run())
}
