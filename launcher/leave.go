//go:build linux

package launcher

import "golang.org/x/sys/unix"

// leave ends the supervision of a program that goes on: the user who has started this process has ended it, or is gone. Clients are dropped,
// what they have put into memory is taken out, and the program does what it did when nobody debugged it last: it runs, or is on hold.
func (s *supervisor) leave() {
	s.leaving = true
	s.close()
	s.newcomers.dropAll()
	s.visitors.dropAll()
	if s.session != nil {
		if err := s.disconnect(); err != nil {
			s.event(s.log.Error(), evFailed).Msg(err.Error())
		}
	}
	s.unwatch()
	s.observe() // somebody may have stopped it by hand
	switch state, _ := processState(s.PID); {
	case state == Exited:
		s.logExited()
	case state == Held && s.undebugged == Running:
		if err := s.signal(unix.SIGCONT); err != nil {
			s.event(s.log.Error(), evFailed).Msg(err.Error())
			return
		}
		s.event(s.log.Info(), evResumed).Str("by", "end").Msg(s.Name + " runs")
	case state == Held:
		s.log.Info().Int("pid", s.known.PID).Msgf("%s is on hold, as before; `envoyshim resume --pid %d` lets it run", s.Name, s.known.PID)
	}
}

// unwatch ends the watch for a crash. At one the signal takes its course. The watch may have something to tell before.
func (s *supervisor) unwatch() {
	watch := s.takeWatch()
	if watch == nil {
		return
	}
	if s.status.Crash != nil {
		watch.takeCourse()
	}
	over := false
	go func() {
		if _, err := watch.letGo(); err != nil {
			s.event(s.log.Error(), evFailed).Msgf("end the watch for a crash: %v", err)
		}
		s.do <- func() { over = true }
	}()
	s.serveUntil(func() bool { return over }, answerTime)
}
