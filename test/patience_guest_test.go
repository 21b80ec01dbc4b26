//go:build guest

package test

import "time"

// A guest is many times slower than the machine that it runs on: patience_test.go.
const patience = 3 * time.Minute

// gdb, once it has lost patience, asks again, and is confused by two answers.
const gdbTimeout = "120"

// A guest's clocks go on while its CPUs wait for one of the machine's, and of the samples that were due meanwhile one is taken: a second may pass
// without any.
const (
	punctual = false
	points   = 0.2
	missed   = 0.8
)
