//go:build linux

package launcher

import (
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/tracee"
)

// hold has the shim become the ELF, held before its first instruction, and supervises it
// until its end. An error means that the shim still waits for orders, as before.
func (l *launch) hold() error {
	elf, err := holdable(l.real)
	if err != nil {
		return err
	}
	server, err := findServer(l.settings)
	if err != nil {
		return err
	}
	for _, b := range backends {
		if l.settings.Mode.servesItself() && b.setting(l.settings) != "" {
			l.log.Warn().Msgf("%s is not used in mode %s, which serves its clients by itself; ENVOYSHIM_MODE=%s uses it", b.variable, l.settings.Mode, b.serves)
		}
	}
	s := newSupervisor(l.settings, l.log)
	s.PID, s.known = l.shim.PID, here(l.shim.PID)
	s.Name, s.BuildID, s.Go, s.Server = l.name, elf.BuildID, elf.Go, server
	s.Pod, s.Namespace = os.Getenv("POD_NAME"), os.Getenv("POD_NAMESPACE")
	if l.parent != 0 {
		s.owner = openParent(s.PID, l.parent)
	}
	sparseEnvironment()
	// Whatever can fail does so before the execve, while the shim can still run the ELF undebugged.
	if err := s.open(); err != nil {
		s.close()
		return err
	}
	ordered, execed, err := l.execHeld(s.Mode == Pause)
	if !ordered && err != nil {
		s.close()
		return err
	}
	if errors.Is(err, tracee.ErrGone) {
		return nil // execve failed, which is reported, or somebody killed the shim
	}
	if err != nil {
		event(l.log.Error(), evFailed, s.PID).Msgf("%v; %s runs undebugged", err, s.Name)
	}
	s.execed = execed
	s.supervise(err == nil)
	return nil
}

// execHeld seizes the shim, has it execute the ELF, and leaves that on hold. anyTracer also allows every other
// process of this uid to trace it: the user's own debugger in mode pause. ordered tells
// whether the shim was told to execute it, and execed when it did.
func (l *launch) execHeld(anyTracer bool) (ordered bool, execed time.Time, err error) {
	tracer := uintptr(os.Getpid())
	if anyTracer {
		tracer = unix.PR_SET_PTRACER_ANY
	}
	if err := l.shim.AllowTracer(tracer); err != nil {
		return false, execed, err
	}
	execed, err = tracee.HoldAtExec(l.shim.PID, func() error {
		l.shim.Stay()
		if err := l.shim.Exec(l.real, l.argv); err != nil {
			return err
		}
		ordered = true
		go l.awaitExec()
		return nil
	})
	if !ordered {
		_ = l.shim.AllowTracer(0)
	}
	return ordered, execed, err
}

// sparse is what debug servers need of a program's environment.
func sparse(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return !slices.Contains([]string{"PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR"}, name)
	})
}

// sparseEnvironment leaves that.
func sparseEnvironment() {
	kept := sparse(os.Environ())
	os.Clearenv()
	for _, e := range kept {
		name, value, _ := strings.Cut(e, "=")
		_ = os.Setenv(name, value)
	}
}
