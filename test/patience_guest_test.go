//go:build guest

package test

import "time"

// A guest is many times slower than the machine that it runs on: patience_test.go.
const patience = 3 * time.Minute

// gdb, once it has lost patience, asks again, and is confused by two answers.
const gdbTimeout = "120"
