//go:build !guest

package test

import "time"

// patience bounds every wait for an event. It is no measurement: it only ends a test
// that would hang, on the slowest machine.
const patience = 30 * time.Second

// gdbTimeout is how many seconds gdb waits for each answer: its own default.
const gdbTimeout = "2"

// punctual: samples are taken when they are due.
const punctual = true

// points is how far a function's share of a profile may be from the truth: five of a hundred.
const points = 0.05

// missed is how much of the time a sampler may have too little or too much.
const missed = 0.1
