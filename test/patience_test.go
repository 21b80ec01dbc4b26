//go:build !guest

package test

import "time"

// patience bounds every wait for an event. It is no measurement: it only ends a test
// that would hang, on the slowest machine.
const patience = 30 * time.Second

// gdbTimeout is how many seconds gdb waits for each answer: its own default.
const gdbTimeout = "2"
