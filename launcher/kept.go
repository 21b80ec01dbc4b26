//go:build linux

package launcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNoProfile means that the supervisor of a process keeps no profile of its start: that is for mode profile without -o.
var ErrNoProfile = errors.New("no profile of its start is kept")

// KeptProfile is the profile of a process's start that its supervisor keeps in mode profile, from its beginning. While it is still being made that is an
// error, or, with wait, waited for. The process may be gone already, if its supervisor was waiting for the profile.
func KeptProfile(pid int, wait bool) (*os.File, error) {
	st, err := one(pid, "in mode profile", func(st Status) bool { return st.Supervisor != 0 && st.Mode == Profile })
	if err != nil {
		return nil, err
	}
	if st.Supervisor == 0 {
		return nil, fmt.Errorf("process %d: %w: it has no supervisor", st.PID, ErrNoProfile)
	}
	name, err := controlNameHere(st.PID)
	if err != nil {
		return nil, err
	}
	return request{Op: "profile", Wait: wait}.receive(name, st.PID)
}

// receive sends the request, and returns the file that comes with the reply.
func (req request) receive(name string, pid int) (*os.File, error) {
	conn, err := dialControl(name, pid)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		return nil, fmt.Errorf("ask about process %d: %w: %w", pid, errSupervisorGone, err)
	}
	body, rights := make([]byte, maxReply), make([]byte, unix.CmsgSpace(4))
	n, nr, _, _, err := conn.ReadMsgUnix(body, rights)
	if err != nil {
		return nil, fmt.Errorf("ask about process %d: %w: %w", pid, errSupervisorGone, err)
	}
	var r reply
	switch err := json.Unmarshal(body[:n], &r); {
	case err != nil:
		return nil, fmt.Errorf("ask about process %d: %w", pid, err)
	case r.NoProfile:
		return nil, fmt.Errorf("process %d: %w: %s", pid, ErrNoProfile, r.Error)
	case r.Error != "":
		return nil, errors.New(r.Error)
	}
	return fileOf(rights[:nr], "profile")
}

// maxReply bounds a reply that brings a file, in bytes.
const maxReply = 4096

// fileOf is the descriptor that came with a message.
func fileOf(rights []byte, name string) (*os.File, error) {
	if messages, err := unix.ParseSocketControlMessage(rights); err == nil && len(messages) == 1 {
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil && len(fds) == 1 {
			return os.NewFile(uintptr(fds[0]), name), nil
		}
	}
	return nil, fmt.Errorf("receive the %s: no descriptor came; has this process reached its limit of open files (ulimit -n)?", name)
}

// newMemfile makes a file in memory (memfd_create(2)).
func newMemfile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // MFD_NOEXEC_SEAL is there since Linux 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("create a memfd for the %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// serveProfile hands out the profile, but not to the command that makes it.
func (s *supervisor) serveProfile(conn *net.UnixConn, peer int, out *json.Encoder, wait bool) {
	type kept struct {
		*unattended
		reply
	}
	answer := make(chan kept, 1)
	s.do <- func() {
		u := s.unattended
		switch {
		case s.Mode != Profile:
			answer <- kept{reply: reply{Error: fmt.Sprintf("its mode is %s, not %s", s.Mode, Profile), NoProfile: true}}
		case u == nil:
			answer <- kept{reply: reply{Error: "it was not held at its start", NoProfile: true}}
		case u.kept == nil:
			answer <- kept{reply: reply{Error: s.naming.name("ENVOYSHIM_PROFILE_ARGS") + " has it written elsewhere", NoProfile: true}}
		case u.cmd.Process.Pid == peer:
			answer <- kept{reply: reply{Error: "it is yet to be made, by this command", NoProfile: true}}
		default:
			s.streams++
			answer <- kept{unattended: u}
		}
	}
	a := <-answer
	if a.unattended == nil {
		_ = out.Encode(a.reply)
		return
	}
	defer func() { s.do <- func() { s.streams-- } }()
	if err := a.hand(conn, wait); err != nil {
		_ = out.Encode(reply{Error: fmt.Sprintf("process %d: %v", s.known.PID, err)})
	}
}

// hand sends the profile's file, when it is made. Whoever waits and goes is not waited for.
func (u *unattended) hand(conn *net.UnixConn, wait bool) error {
	gone := make(chan struct{})
	go func() {
		var b [1]byte
		_, _ = conn.Read(b[:])
		close(gone)
	}()
	select {
	case <-u.done:
	default:
		if !wait {
			return errors.New("the profile of its start is still being made")
		}
		select {
		case <-u.done:
		case <-gone:
			return net.ErrClosed
		}
	}
	if u.err != nil {
		return fmt.Errorf("the profile of its start could not be made: envoyshim profile: %w; its own line in the log says why", u.err)
	}
	again, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", u.kept.Fd())) // from the beginning, for each
	if err != nil {
		return err
	}
	defer again.Close()
	_, _, err = conn.WriteMsgUnix([]byte("{}\n"), unix.UnixRights(int(again.Fd())), nil)
	return err
}
