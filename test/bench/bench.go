//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
)

// bench is what the rows share.
type bench struct {
	machine machine
	tools   tools
	commit  string
	factor  float64
	dir     string // of the room
	shim    shim
	targets []target
}

// A shim is an installed envoyshim.
type shim struct {
	path string // .../envoy; beside it a hard link named envoyshim, as in an image
}

func (s shim) cli() string { return filepath.Join(filepath.Dir(s.path), "envoyshim") }

const product = "envoyshim"

// A target is a program to be held and debugged.
type target struct {
	name string
	path string
}

const (
	standin   = "stand-in"
	realEnvoy = "Envoy"
)

func newBench(factor float64) (*bench, error) {
	// One thread starts and awaits everything; no collection in the midst of it.
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	dir := os.Getenv(roomVariable)
	if err := furnish(dir); err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	b := &bench{
		factor: factor,
		dir:    dir,
		targets: []target{
			{standin, fixture("standin")},
			{realEnvoy, filepath.Join(cache, "envoyshim/envoy-1.40.0/envoy")},
		},
	}
	for _, t := range b.targets {
		if _, err := os.Stat(t.path); err != nil {
			return nil, fmt.Errorf("%w: run `make bench`", err)
		}
	}
	if err := b.install("bin/envoyshim"); err != nil {
		return nil, fmt.Errorf("%w: run `make bench`", err)
	}
	if b.machine, err = thisMachine(); err != nil {
		return nil, err
	}
	if b.tools, err = b.theseTools(); err != nil {
		return nil, err
	}
	b.commit, err = commit("bin/envoyshim")
	return b, err
}

// install puts the shim into a directory of its own, as an image does.
func (b *bench) install(built string) error {
	b.shim = shim{filepath.Join(b.dir, filepath.Base(built), "envoy")}
	if err := copyFile(built, b.shim.path); err != nil {
		return err
	}
	return os.Link(b.shim.path, b.shim.cli())
}

// times is a number of runs, as -runs changes it.
func (b *bench) times(n int) int { return max(1, int(float64(n)*b.factor)) }

// fixture is the path of something that make built for tests.
func fixture(name string) string {
	path, err := filepath.Abs(filepath.Join("bin/test", name))
	if err != nil {
		panic(err) // no working directory
	}
	return path
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	// Not over an existing file: it may be running.
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(to, content, 0o755)
}

// script writes an executable script into the room.
func (b *bench) script(name, text string) (string, error) {
	path := filepath.Join(b.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o755)
}

// tool returns the path of an installed program.
func tool(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return name // starting it gives the error
	}
	return path
}
