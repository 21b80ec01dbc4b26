//go:build linux

package launcher

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/carried"
	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/tracee"
	"github.com/envoyshim/envoyshim/nsutil"
)

// AttachFlags are the settings of `envoyshim attach`, as typed.
type AttachFlags struct {
	Mode       string `default:"debug" placeholder:"MODE" help:"Who serves debuggers: debug (gdb, lldb, Delve, editors, whichever comes), dlv, lldb-platform; gdb, lldb (gdbserver, lldb-server); pause only stops the process."`
	Listen     string `default:"127.0.0.1:2159" placeholder:"ADDR" help:"HOST:PORT of the debug port, in this network namespace; port 0 chooses a free one."`
	DebugFlags `embed:""`
	JSON       bool `name:"json" help:"Print what happens as JSON, one object a line."`

	Out io.Writer `kong:"-"` // for that; nil: standard output
}

// settings checks them.
func (f AttachFlags) settings() (Settings, error) {
	fillDefaults(&f)
	c := checker{naming: AsFlags, modes: slices.DeleteFunc(slices.Clone(modes), func(m string) bool { return Mode(m) == Off || Mode(m).unattended() })}
	s := f.check(f.Mode, f.Listen, &c)
	if s.Mode == Pause && s.HoldTimeout > 0 {
		c.fail("ENVOYSHIM_HOLD_TIMEOUT", f.HoldTimeout, "not with "+AsFlags.set("ENVOYSHIM_MODE", Pause)+", which leaves nobody who lets it run")
	}
	return s, c.err(&s)
}

// Check tells, before there is a process, what of the settings is wrong or not there, or that the port is taken, in one line.
func (f AttachFlags) Check() error {
	settings, err := f.settings()
	if err != nil || settings.Mode == Pause {
		return err
	}
	if settings.GDBServer != "" || settings.LLDBServer != "" {
		if _, err := findServer(settings); err != nil {
			return err
		}
	}
	if settings.TLSDir != "" {
		if _, err := os.Stat(filepath.Join(settings.TLSDir, "tls.crt")); err != nil {
			return fmt.Errorf("%s=%q: %w", settings.Naming.name("ENVOYSHIM_TLS_DIR"), settings.TLSDir, err)
		}
	}
	port, err := openPort(settings.Listen, settings.Naming)
	if err == nil {
		_ = port.Close()
	}
	return err
}

// An Event is what `envoyshim attach --json` prints: what the log tells, without what only people read.
type Event struct {
	Event    string `json:"event"`  // held, listening, attached, detached, resumed, exited, failed
	PID      int    `json:"pid"`    // in this pid namespace
	NSPID    int    `json:"ns_pid"` // in its own
	Listen   string `json:"listen,omitempty"`
	State    State  `json:"state,omitempty"`    // of listening: held or running
	Client   string `json:"client,omitempty"`   // of attached
	Debugger string `json:"debugger,omitempty"` // likewise
	By       string `json:"by,omitempty"`       // of detached, resumed
	Signal   string `json:"signal,omitempty"`   // of held: at which; of exited: by which
	Status   *int   `json:"status,omitempty"`   // of exited
	Message  string `json:"message,omitempty"`

	Time time.Time `json:"time"`
}

// Attach serves debuggers a process that the shim did not start, in whatever pid and mount namespace it is, until it ends (nil), or ctx does
// (nil): then clients are dropped, and the process is as Attach found it, or as its users have left it: it runs, or is on hold. In mode pause
// it is stopped, and that is all.
//
// The supervisor is a process of its own in those two namespaces, so that pids, /proc and files are the process's; the port is in the network
// namespace of the caller. That of the caller, this one, is its only user: should it be killed, the supervisor ends as it would with ctx.
//
// Events go to the log, and, with flags.JSON, to flags.Out.
func Attach(ctx context.Context, p *nsutil.Process, flags AttachFlags) error {
	settings, err := flags.settings()
	if err != nil {
		return err
	}
	elf, err := attachable(p)
	if err != nil {
		return err
	}
	a := &attachment{process: p, settings: settings, elf: elf, out: io.Discard}
	if flags.JSON {
		a.out = cmp.Or[io.Writer](flags.Out, os.Stdout)
	}
	a.log = tellingLog(settings, a.tell)
	if settings.Mode == Pause {
		return a.pause()
	}
	return a.serve(ctx)
}

// attachment is the outer stage: it starts the supervisor, hears what that tells, and ends it.
type attachment struct {
	process  *nsutil.Process
	settings Settings
	elf      elfinfo.Info
	log      zerolog.Logger // which tells events to out, too
	out      io.Writer

	exited bool // the process, as was told
}

// name is what the process is called by: that of its program.
func (a *attachment) name() string {
	if exe := strings.TrimSuffix(a.process.Exe, " (deleted)"); exe != "" {
		return filepath.Base(exe)
	}
	return a.process.Comm
}

// pause stops the process.
func (a *attachment) pause() error {
	stop := func() error { return a.process.Signal(unix.SIGSTOP) }
	if a.process.PID == 1 {
		stop = func() error { return tracee.Halt(1) }
	}
	if err := stop(); err != nil {
		return err
	}
	s := newSupervisor(a.settings, a.log) // which tells how to go on
	s.PID, s.known, s.Name, s.user = a.process.NSPID, here(a.process.PID), a.name(), make(chan struct{})
	s.setHeld()
	return nil
}

// tell prints an event.
func (a *attachment) tell(e Event) {
	a.exited = a.exited || e.Event == evExited
	e.Time = now()
	if line, err := json.Marshal(e); err == nil {
		_, _ = a.out.Write(append(line, '\n'))
	}
}

// serve starts the supervisor and hears it until its end.
func (a *attachment) serve(ctx context.Context) error {
	namespaces, err := entered(a.process)
	if err != nil {
		return err
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	ours, theirs, err := carried.SocketPair(unix.SOCK_STREAM)
	if err != nil {
		return err
	}
	defer ours.Close()
	luggage := luggage{[]*os.File{null, null, os.Stderr, theirs, a.process.PIDFD()}} // attendSocket, attendPIDFD
	defer luggage.close(attendPIDFD + 1)
	o, err := a.order(&luggage, namespaces)
	if err != nil {
		_ = theirs.Close()
		return err
	}
	supervisor := nsutil.Command{
		Target:     a.process.PIDFD(),
		Namespaces: namespaces,
		Argv:       []string{"envoyshim", AttendCommand},
		Exe:        self,
		Env:        sparse(procfs.Environ(a.process.PID)),
		Files:      luggage.files,
		Session:    true, // a terminal's signals are for this process, which ends that one
	}
	child, err := supervisor.Start()
	_ = theirs.Close()
	if err != nil {
		return fmt.Errorf("start the supervisor of process %d: %w", a.process.PID, err)
	}
	o.Known.Supervisor = child.Pid
	_ = json.NewEncoder(ours).Encode(o) // should it be gone already, its end tells
	defer context.AfterFunc(ctx, func() { _ = ours.CloseWrite() })()
	failure := a.hear(ours)
	status, err := child.Wait()
	switch {
	case failure != nil:
		return failure
	case err != nil:
		return fmt.Errorf("wait for the supervisor of process %d: %w", a.process.PID, err)
	case a.exited || status.Success():
		return nil
	case awaitEnd(int(a.process.PIDFD().Fd()), endTime): // which is near, if it is
		// The end of the init of a pid namespace, which it may have been or which may have followed it, is that of all others there.
		event(a.log.Info(), evExited, a.process.PID).Int("ns_pid", a.process.NSPID).Msg(a.name() + " ended")
		return nil
	}
	return fmt.Errorf("the supervisor of process %d ended (%s); `envoyshim resume --pid %d` takes out what a debugger has left in it, and lets it run", a.process.PID, status, a.process.PID)
}

// order is what the supervisor is told, and packs the files of the node that it needs.
func (a *attachment) order(l *luggage, namespaces nsutil.Set) (o order, err error) {
	o = order{
		Settings: a.settings,
		PID:      a.process.PID,
		Known:    here(a.process.PID),
		Name:     a.name(),
		BuildID:  a.elf.BuildID,
		Go:       a.elf.Go,
		Pod:      a.process.PodUID,
	}
	if namespaces&unix.CLONE_NEWPID != 0 {
		o.PID = a.process.NSPID
	}
	defer func() { o.Files = len(l.files) }()
	server, missing := findServer(a.settings)
	named := a.settings.GDBServer != "" || a.settings.LLDBServer != ""
	switch {
	case missing != nil && (named || namespaces&unix.CLONE_NEWNS == 0):
		return o, missing
	case namespaces&unix.CLONE_NEWNS == 0:
		o.Settings.GDBServer, o.Settings.LLDBServer = server, server // the mode takes one
		return o, nil
	}
	o.Settings.GDBServer, o.Settings.LLDBServer = "", "" // which are the node's
	if missing != nil {
		o.NoServer = missing.Error()
	} else if server != "" {
		if o.Server, err = l.lend(server); err != nil {
			return o, err
		}
	}
	if dir := a.settings.TLSDir; dir != "" {
		if o.TLSDir, err = l.pack(dir, unix.O_PATH|unix.O_DIRECTORY); err != nil {
			return o, fmt.Errorf("%s=%q: %w", a.settings.Naming.name("ENVOYSHIM_TLS_DIR"), dir, err)
		}
	}
	return o, nil
}

// hear handles what the supervisor says. The error is why it could not begin.
func (a *attachment) hear(supervisor io.Reader) error {
	for lines := json.NewDecoder(supervisor); ; {
		var w word
		if lines.Decode(&w) != nil {
			return nil // it has ended
		}
		if w.Error != "" {
			return errors.New(w.Error)
		}
		if w.Event != nil {
			a.tell(*w.Event)
		}
	}
}

// endTime bounds the end of an init of a pid namespace, for which the kernel ends all others in it first.
const endTime = 2 * time.Second
