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
	shims   []shim
	targets []target
}

// A shim is an installed variant of envoyshim.
type shim struct {
	name string
	path string // .../envoy; beside it a hard link named envoyshim, as in an image
}

func (s shim) cli() string { return filepath.Join(filepath.Dir(s.path), "envoyshim") }

// product is the name of the shim as it is shipped; in the variants Delve's server is linked in
// (delve/link.go), or carried as a program of its own (delve/carry.go).
const (
	product = "envoyshim"
	linked  = "envoyshim, Delve linked in"
	carried = "envoyshim, Delve carried"
)

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
	for _, s := range []struct{ name, built string }{
		{product, "bin/envoyshim"}, {linked, fixture("envoyshim-delve-linked")}, {carried, fixture("envoyshim-delve-carried")},
	} {
		if err := b.install(s.name, s.built); err != nil {
			return nil, fmt.Errorf("%w: run `make bench`", err)
		}
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

// install puts a shim into a directory of its own, as an image does.
func (b *bench) install(name, built string) error {
	s := shim{name, filepath.Join(b.dir, filepath.Base(built), "envoy")}
	if err := copyFile(built, s.path); err != nil {
		return err
	}
	b.shims = append(b.shims, s)
	return os.Link(s.path, s.cli())
}

// shim returns the installed variant of that name.
func (b *bench) shim(name string) shim {
	for _, s := range b.shims {
		if s.name == name {
			return s
		}
	}
	panic("no shim " + name)
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
