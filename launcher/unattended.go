//go:build linux

package launcher

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// In the modes trace and profile nobody has to come: the supervisor itself starts the command of that name on the process that it holds, and that one
// lets it run. What it prints is among Envoy's own output, as the log is.

// unattended is that command.
type unattended struct {
	cmd  *exec.Cmd
	kept *os.File      // the profile; nil: the command writes it elsewhere, or makes none
	done chan struct{} // closed at its end
	err  error         // after that
}

// keptFD is the descriptor by which the command finds the file for the profile.
const keptFD = 3

// keptPath is its name there.
var keptPath = fmt.Sprintf("/proc/self/fd/%d", keptFD)

// startUnattended starts the command. Without it nobody would let the process run.
func (s *supervisor) startUnattended() {
	u, err := s.newUnattended()
	if err == nil {
		err = u.cmd.Start()
	}
	if err != nil {
		s.event(s.log.Error(), evFailed).Msgf("start envoyshim %s: %v; %s runs without", s.Mode, err, s.Name)
		_ = s.resume("failure of envoyshim " + string(s.Mode))
		return
	}
	s.unattended = u
	s.streams++
	go func() {
		err := u.cmd.Wait()
		s.do <- func() {
			u.err = err
			close(u.done)
			s.streams--
			s.unattendedEnded(u)
		}
	}()
}

func (s *supervisor) newUnattended() (u *unattended, err error) {
	if s.control == nil {
		return nil, errors.New("it reaches the process by the control socket, which is not there")
	}
	u = &unattended{done: make(chan struct{})}
	if s.Mode == Profile && !name(s.Words, "-o", "--output") {
		if u.kept, err = newMemfile("profile"); err != nil {
			return nil, err
		}
	}
	words := append([]string{string(s.Mode), "--pid", strconv.Itoa(s.PID)}, commandLine(s.Mode, s.Words)...)
	u.cmd = selfCommand(words...)
	u.cmd.Stdout, u.cmd.Stderr = os.Stderr, os.Stderr
	if u.kept != nil {
		u.cmd.ExtraFiles = []*os.File{u.kept}
	}
	return u, nil
}

// unattendedEnded lets the process run if the command has not, and tells how that ended if it went wrong.
func (s *supervisor) unattendedEnded(u *unattended) {
	stays := s.session == nil && s.observe().State == Held && s.history.released.IsZero()
	switch {
	case stays:
		why := "exit status 0"
		if u.err != nil {
			why = u.err.Error()
		}
		s.event(s.log.Error(), evFailed).Msgf("envoyshim %s ended (%s) before it let %s run, which now runs without", s.Mode, why, s.Name)
		_ = s.resume("end of envoyshim " + string(s.Mode))
	case u.err != nil && s.status.State != Exited:
		s.event(s.log.Error(), evFailed).Msgf("envoyshim %s: %v", s.Mode, u.err)
	case u.err == nil && u.kept != nil:
		s.log.Info().Msgf("the profile of its start is kept: `envoyshim profile --pid %d -o - >start.pb.gz` fetches it", s.known.PID)
	}
}

// commandLine are the words that the command of a mode gets when the user has given those.
func commandLine(mode Mode, words []string) []string {
	words = slices.Clone(words)
	if !name(words, "--until", "--for", "--duration") {
		words = append(words, endOfUnattended[mode]...)
	}
	if mode == Profile && !name(words, "-o", "--output") {
		words = append(words, "-o", keptPath)
	}
	return words
}

// endOfUnattended is when the command ends whose words do not say it: nobody is there who would end it.
var endOfUnattended = map[Mode][]string{
	Trace:   {"--until", "live", "--for", "1m"},
	Profile: {"--until", "live", "--duration", "1m"},
}

// name reports words that give one of the flags, a short one also with its value in the same word.
func name(words []string, flags ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool {
		return slices.ContainsFunc(flags, func(flag string) bool {
			return w == flag || strings.HasPrefix(w, flag+"=") || len(flag) == 2 && strings.HasPrefix(w, flag)
		})
	})
}
