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

	"github.com/envoyshim/envoyshim/internal/inherit"
)

// Exit statuses of the shim's own failures, as a shell's.
const (
	exitCannotRun = 126
	exitNotFound  = 127
)

// launch is one program about to be executed in this process.
type launch struct {
	name     string // what the shim was called by
	real     string // the ELF
	argv     []string
	env      []string
	settings Settings
	log      zerolog.Logger
}

// Shim is the face that stands in Envoy's place: it becomes the real ELF, held first
// when ENVOYSHIM_MODE asks for it. It must run on the thread group leader
// and returns only when nothing could be executed, with the exit status.
func Shim() int {
	vars, err := FromEnvironment()
	if err != nil {
		return exitCannotRun // unreachable: the tags of Variables are wrong
	}
	name := filepath.Base(inherit.ExecFn())
	l, wrong := newLaunch(name, os.Args, vars.Flags)
	if l.real, err = FindReal(name, vars.Real); err != nil {
		return l.fail(err)
	}
	if wrong != nil {
		return l.degrade(wrong)
	}
	if !slices.Contains(vars.Targets(), name) || !serves(name, l.argv) {
		return l.exec()
	}
	return l.holdAndExec()
}

// Run is `envoyshim run`: the shim's job for any ELF and parent, with flags.
// Like [Shim] it returns only when nothing could be executed.
func Run(flags Flags, argv []string) int {
	l, wrong := newLaunch(filepath.Base(argv[0]), argv, flags)
	l.real = argv[0]
	if !strings.Contains(l.real, "/") {
		path, err := exec.LookPath(l.real)
		if err != nil {
			return l.fail(fmt.Errorf("%s: %w on PATH; name the ELF by its path", argv[0], errNotFound))
		}
		l.real = path
	}
	if isSelf(l.real) {
		return l.fail(fmt.Errorf("%s: that is envoyshim itself; name the ELF to run", l.real))
	}
	if wrong != nil {
		return l.degrade(wrong)
	}
	return l.holdAndExec()
}

// newLaunch checks the settings for name and warns of variables that do not exist. The
// error, if any, is for degrade, once the ELF is known.
func newLaunch(name string, argv []string, flags Flags) (*launch, error) {
	settings, wrong := flags.For(name)
	l := &launch{
		name:     name,
		argv:     argv,
		env:      inherit.Environ(),
		settings: settings,
		log:      newLogger(settings.LogLevel, settings.LogJSON),
	}
	for _, line := range UnknownVariables(l.env) {
		l.log.Warn().Msg(line)
	}
	return l, wrong
}

// holdAndExec changes the arguments as asked, arranges the hold, if any, and becomes the
// ELF.
func (l *launch) holdAndExec() int {
	l.argv = l.settings.Argv.apply(l.argv)
	if l.settings.Mode == Off || hopeless(l.real) {
		return l.exec()
	}
	if err := l.arrangeHold(); err != nil {
		return l.degrade(err)
	}
	return l.exec()
}

// exec becomes the ELF.
func (l *launch) exec() int {
	status, err := execError(l.real, inherit.Exec(l.real, l.argv, l.env))
	event(l.log.Error(), evFailed, os.Getpid()).Msg(err.Error())
	return status
}

// degrade reports why the ELF cannot be held, and runs it undebugged, or exits
// when ENVOYSHIM_ON_FAILURE says so.
func (l *launch) degrade(err error) int {
	if l.settings.ExitOnFail {
		return l.fail(fmt.Errorf("%w (ENVOYSHIM_ON_FAILURE=exit)", err))
	}
	event(l.log.Error(), evFailed, os.Getpid()).Msgf("%v; running %s undebugged", err, l.name)
	return l.exec()
}

// fail reports err and gives the exit status for it.
func (l *launch) fail(err error) int {
	event(l.log.Error(), evFailed, os.Getpid()).Msg(err.Error())
	if errors.Is(err, errNotFound) {
		return exitNotFound
	}
	return exitCannotRun
}
