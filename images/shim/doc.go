// Package shim carries the program of pods, bin/envoyshim, for each architecture, so that the user's own machine needs no other file to
// make a debug image.
package shim
