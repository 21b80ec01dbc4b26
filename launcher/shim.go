//go:build linux

package launcher

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/early"
)

// Exit statuses of the shim's own failures, as a shell's.
const (
	ExitCannotRun = 126
	exitNotFound  = 127
)

// launch is a shim that is to become the real ELF, as its supervisor, this process, decides.
type launch struct {
	shim     *early.Shim
	name     string // what the shim was called by
	real     string // the ELF
	argv     []string
	settings Settings
	log      zerolog.Logger

	parent int // it is on hold for no longer than that lives; 0: whoever it is
}

// Launch has the shim, which stands in Envoy's place, become the real ELF, held first when
// ENVOYSHIM_MODE asks for it. It returns when this supervisor is no longer needed.
func Launch(shim *early.Shim) {
	vars := FromEnvironment()
	l, wrong := newLaunch(shim, shim.Name, shim.Argv, vars.Flags)
	var err error
	if l.real, err = FindReal(l.name, vars.Real); err != nil {
		l.fail(err)
		return
	}
	switch {
	case wrong != nil:
		l.degrade(wrong)
	case !slices.Contains(vars.Targets(), l.name) || !serves(l.name, l.argv):
		l.exec()
	default:
		l.holdAndExec()
	}
}

// Run is `envoyshim run`: the shim's job for any ELF and parent, with flags. It is on hold for no longer than its parent lives, if that is given.
func Run(shim *early.Shim, flags Flags, parent int, argv []string) {
	l, wrong := newLaunch(shim, filepath.Base(argv[0]), argv, flags)
	l.real, l.parent = argv[0], parent
	if !strings.Contains(l.real, "/") {
		path, err := exec.LookPath(l.real)
		if err != nil {
			l.fail(fmt.Errorf("%s: %w on PATH; name the ELF by its path", argv[0], errNotFound))
			return
		}
		l.real = path
	}
	switch {
	case isSelf(l.real):
		l.fail(fmt.Errorf("%s: that is envoyshim itself; name the ELF to run", l.real))
	case wrong != nil:
		l.degrade(wrong)
	default:
		l.holdAndExec()
	}
}

// newLaunch checks the settings for name and warns of variables that do not exist. The
// error, if any, is for degrade, once the ELF is known.
func newLaunch(shim *early.Shim, name string, argv []string, flags Flags) (*launch, error) {
	leaveStreams()
	settings, wrong := flags.For(name)
	l := &launch{
		shim:     shim,
		name:     name,
		argv:     argv,
		settings: settings,
		log:      newLogger(settings.LogLevel, settings.LogJSON),
	}
	for _, line := range UnknownVariables(os.Environ()) {
		l.log.Warn().Msg(line)
	}
	return l, wrong
}

// leaveStreams lets go of what is Envoy's: only its stderr is shared, for the log.
func leaveStreams() {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer null.Close()
	_ = unix.Dup3(int(null.Fd()), 0, 0)
	_ = unix.Dup3(int(null.Fd()), 1, 0)
}

// holdAndExec changes the arguments as asked, and has the shim become the ELF, held if
// asked.
func (l *launch) holdAndExec() {
	l.argv = l.settings.Argv.apply(l.argv)
	if l.settings.Mode == Off && !l.settings.HoldOnCrash || hopeless(l.real) {
		l.exec()
		return
	}
	if err := l.hold(); err != nil {
		l.degrade(err)
	}
}

// exec has the shim become the ELF. Where that may fail, this process stays to say why.
func (l *launch) exec() {
	stay := doubtful(l.real)
	if stay {
		l.shim.Stay()
	}
	if err := l.shim.Exec(l.real, l.argv); err != nil {
		l.fail(err)
		return
	}
	if stay {
		l.awaitExec()
	}
}

// awaitExec waits until the shim has become the ELF or has ended; if it could not become it,
// it is told to end.
func (l *launch) awaitExec() {
	if err := l.shim.Became(); err != nil {
		status, why := execError(l.real, err)
		event(l.log.Error(), evFailed, l.shim.PID).Msg(why.Error())
		l.shim.Exit(status)
	}
}

// degrade reports why the ELF cannot be held, and has it run undebugged, or exits
// when ENVOYSHIM_ON_FAILURE says so.
func (l *launch) degrade(err error) {
	if l.settings.ExitOnFail {
		l.fail(fmt.Errorf("%w (ENVOYSHIM_ON_FAILURE=exit)", err))
		return
	}
	event(l.log.Error(), evFailed, l.shim.PID).Msgf("%v; running %s undebugged", err, l.name)
	l.exec()
}

// fail reports err and ends the shim with the exit status for it.
func (l *launch) fail(err error) {
	event(l.log.Error(), evFailed, l.shim.PID).Msg(err.Error())
	if errors.Is(err, errNotFound) {
		l.shim.Exit(exitNotFound)
		return
	}
	l.shim.Exit(ExitCannotRun)
}
