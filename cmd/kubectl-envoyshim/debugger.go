package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/lookpath"
)

// debugger is a debugger to be started on this terminal.
type debugger struct {
	name string
	args []string
}

// The debuggers connect first, so that commands among args find the process.
func gdb(address, elf string, args []string) debugger {
	return debugger{"gdb", append(append([]string{"-ex", "target remote " + address}, args...), files(elf)...)}
}

func lldb(connect []string, elf string, args []string) debugger {
	var first []string
	for _, c := range connect {
		first = append(first, "-o", c)
	}
	return debugger{"lldb", slices.Concat(first, args, files(elf))}
}

func files(elf string) []string {
	if elf == "" {
		return nil
	}
	return []string{elf}
}

// run runs it and returns its exit status.
func (d debugger) run(ctx context.Context, s *command.Streams) (int, error) {
	path, err := lookpath.Find(d.name)
	if err != nil {
		return 0, fmt.Errorf("%s is not on PATH: install it, or leave out --%[1]s and start a debugger yourself", d.name)
	}
	cmd := exec.CommandContext(ctx, path, d.args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.In, s.Out, s.Err
	err = cmd.Run()
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		return max(ended.ExitCode(), 1), nil
	}
	return 0, err
}
