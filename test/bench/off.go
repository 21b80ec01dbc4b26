//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	direct   = "direct"
	dashWrap = "dash wrapper"
	bashWrap = "bash wrapper"
	goWrap   = "Go wrapper"
	bareWrap = "bare execve"
	offCase  = "a program that only exits"
)

var off = row{
	name:  "off",
	title: "what a switched-off shim costs",
	how: "From the spawn to the end of the smallest static program, in µs. It is `" + libDir + `/envoy` + "`" + ` and is started directly, through
envoyshim without any ` + "`ENVOYSHIM_*`" + ` variable, through scripts of one line (` + "`exec REAL \"$@\"`" + `), through the least
Go program that calls execve, and, as the floor, through a static one without any library.`,
	measure: measureOff,
	claims: []claim{
		{offCase, product, dashWrap, direct, goal{atMost, 0.25}},
		{offCase, product, bashWrap, direct, goal{}},
		{offCase, product, goWrap, direct, goal{}},
		{offCase, product, bareWrap, direct, goal{}},
	},
}

func measureOff(b *bench) ([]series, error) {
	real := filepath.Join(libDir, "envoy")
	if err := copyFile(fixture("bench-exit"), real); err != nil {
		return nil, err
	}
	dash, err := b.script("dash-wrapper", "#!/bin/dash\nexec "+real+" \"$@\"\n")
	if err != nil {
		return nil, err
	}
	bash, err := b.script("bash-wrapper", "#!/bin/bash\nexec "+real+" \"$@\"\n")
	if err != nil {
		return nil, err
	}
	// All from the same file system.
	goexec, bare := filepath.Join(b.dir, "go-wrapper"), filepath.Join(b.dir, "bare-wrapper")
	if err := copyFile(fixture("bench-goexec"), goexec); err != nil {
		return nil, err
	}
	if err := copyFile(fixture("bench-execve"), bare); err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	attr := &syscall.ProcAttr{Env: environment(nil), Files: []uintptr{null.Fd(), null.Fd(), null.Fd()}}
	var ways []way
	for _, w := range []struct{ name, path string }{
		{direct, real},
		{product, b.shim.path},
		{dashWrap, dash},
		{bashWrap, bash},
		{goWrap, goexec},
		{bareWrap, bare},
	} {
		argv := []string{w.path, "-c", "/etc/istio/proxy/envoy-rev.json", "--concurrency", "2"}
		ways = append(ways, way{w.name, func() (float64, error) { return spawnAndWait(argv, attr) }})
	}
	return b.inTurn(offCase, "µs", 1000, ways)
}

// spawnAndWait is the time of one program's life, in microseconds.
func spawnAndWait(argv []string, attr *syscall.ProcAttr) (float64, error) {
	began := time.Now()
	pid, err := syscall.ForkExec(argv[0], argv, attr)
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", argv[0], err)
	}
	var status unix.WaitStatus
	for {
		if _, err = unix.Wait4(pid, &status, 0, nil); err != unix.EINTR {
			break
		}
	}
	took := time.Since(began)
	if err != nil || status != 0 {
		return 0, fmt.Errorf("wait status %#x: %v", status, err)
	}
	return float64(took) / float64(time.Microsecond), nil
}
