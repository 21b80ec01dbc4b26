//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "envoyshim: this is the program of pods and nodes, which needs Linux; on your own machine use kubectl-envoyshim")
	os.Exit(1)
}
