//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// The room is where everything measured happens: a mount namespace, so that
// /usr/local/lib/envoyshim/envoy can be what a row needs and nothing of it stays; and a
// pid namespace, so that no search by name can find a process of anybody
// else, and none of ours outlives the benchmark.

// roomVariable names the room's directory to the process inside.
const roomVariable = "BENCH_ROOM"

// libDir is where the shim looks for the real program.
const libDir = "/usr/local/lib/envoyshim"

func inRoom() bool { return os.Getenv(roomVariable) != "" }

// enterRoom runs this program again inside a new room.
func enterRoom(args []string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("run it as root: it makes namespaces")
	}
	// On the disk, as images and the tools beside the shim are: from a tmpfs a program
	// starts measurably slower.
	dir, err := os.MkdirTemp(fixture(""), "room-")
	if err != nil {
		return fmt.Errorf("%w: run `make bench` at the repository's root", err)
	}
	defer os.RemoveAll(dir)
	runtime.LockOSThread() // the parent of Pdeathsig is a thread
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...) // killed by either signal, and the room with it
	cmd.Env = append(os.Environ(), roomVariable+"="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("not finished: %w", err)
	}
	return nil
}

// furnish mounts what the room needs: /proc for its pids, and above /usr/local/lib a
// layer that takes what is written there.
func furnish(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	layer := filepath.Join(dir, "layer")
	if err := os.Mkdir(layer, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", layer, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount a tmpfs at %s: %w", layer, err)
	}
	upper, work := filepath.Join(layer, "upper"), filepath.Join(layer, "work")
	for _, d := range []string{upper, work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	over := filepath.Dir(libDir)
	if err := unix.Mount("overlay", over, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", over, upper, work)); err != nil {
		return fmt.Errorf("mount an overlay at %s: %w", over, err)
	}
	return os.MkdirAll(libDir, 0o755)
}
