//go:build linux

package launcher

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/rs/zerolog"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// limits are the usual time limits of a pod that the shim cannot see (Istio's injection
// template).
const limits = "the kubelet kills istio-proxy after 600 s without readiness (startupProbe 1 s x 600) and after 60 s with holdApplicationUntilProxyStarts (postStart); raise them before holding longer"

// logListening writes that the port is open. The user who attaches to a program that runs is told what to type now; of others, it is on hold next.
func (s *supervisor) logListening() {
	e := s.event(s.log.Info(), evListening).Str("listen", s.listen)
	if s.user == nil {
		e.Msg("the debug port is open")
		return
	}
	e = e.Str("state", string(s.undebugged))
	if s.undebugged == Held {
		e.Msg("the debug port is open")
		return
	}
	s.hints(e).Msgf("the debug port is open; %s runs until a debugger attaches", s.Name)
}

// logHeld writes the line that tells a person what to type next.
func (s *supervisor) logHeld() {
	level := s.log.Info()
	if s.status.Crash != nil {
		level = s.log.Error()
	}
	e := s.event(level, evHeld).Str("mode", string(s.Mode))
	if s.port != nil {
		e = e.Str("listen", s.listen)
	}
	if s.Mode.unattended() && s.history.released.IsZero() {
		e.Msgf("%s is held; envoyshim %s lets it run", s.Name, s.Mode)
		return
	}
	e = s.hints(e)
	e = e.Str("resume", fmt.Sprintf("envoyshim resume --pid %d", s.known.PID))
	if c := s.status.Crash; c != nil {
		c.log(e).Msgf("%s is held at %s in thread %d (%s); attach a debugger, or resume, and the signal takes its course", s.Name, c.Signal, c.Thread, c.Name)
		return
	}
	if s.inPod() {
		e = e.Str("limits", limits)
	}
	e.Msgf("%s is held; attach a debugger or resume", s.Name)
}

// inPod tells whether a pod's time limits apply. The shim takes them for granted, since that is what it is for.
func (s *supervisor) inPod() bool { return s.user == nil || s.Pod != "" }

// hints adds how to attach.
func (s *supervisor) hints(e *zerolog.Event) *zerolog.Event {
	if s.port == nil {
		return e.Str("gdb", fmt.Sprintf("gdb -p %d", s.known.PID)).
			Str("lldb", fmt.Sprintf("lldb -p %d", s.known.PID))
	}
	addr := dialAddress(s.listen)
	if s.tls != nil {
		addr = nearAddress(s.listen) // where connect serves debuggers
		e = e.Str("connect", "kubectl-envoyshim connect"+nearFlag(addr)+" --tls-dir DIR "+remoteAddress(s.listen))
	}
	if s.serves(gdbProtocol) == nil {
		e = e.Str("gdb", "gdb -ex 'target remote "+addr+"'")
	}
	switch {
	case s.Mode == LLDBPlatform && s.status.Crash == nil:
		e = e.Str("lldb", fmt.Sprintf("lldb -o 'platform select remote-linux' -o 'platform connect connect://%s' -o 'process attach --name %s'",
			addr, procfs.Comm(s.PID)))
	case s.serves(lldbProtocol) == nil:
		e = e.Str("lldb", "lldb -o 'gdb-remote "+addr+"'"+s.elfForLLDB())
	}
	if s.serves(jsonRPCProtocol) == nil && (s.Go || s.Mode == Dlv) {
		e = e.Str("dlv", "dlv connect "+addr)
	}
	exec := "kubectl exec -i " + s.podArgs() + " -- envoyshim stdio"
	switch {
	case s.user != nil: // it is the node's port, which no container has
	case s.serves(gdbProtocol) == nil:
		e = e.Str("kubectl", "gdb -ex 'target remote | "+exec+"'")
	default:
		e = e.Str("kubectl", "kubectl-envoyshim connect"+nearFlag(addr)+" --exec '"+exec+"'")
	}
	return e
}

// elfForLLDB is a word for the program. Without it lldb takes the pid for one of this machine, where it is another's or nobody's, and finds no modules.
func (s *supervisor) elfForLLDB() string {
	if s.user == nil {
		return ""
	}
	return " ELF"
}

// podArgs are the arguments by which kubectl exec finds this container.
func (s *supervisor) podArgs() string {
	pod := s.Pod
	if pod == "" {
		pod = "POD"
	}
	if s.Namespace != "" {
		pod = "-n " + s.Namespace + " " + pod
	}
	return pod + " -c istio-proxy"
}

// nearAddress is where `kubectl envoyshim connect` serves debuggers: at the port's own number, which lldb's platform tells them.
func nearAddress(listen string) string {
	_, port, _ := net.SplitHostPort(listen)
	return net.JoinHostPort("127.0.0.1", port)
}

// nearFlag has it listen there, if it would not by itself.
func nearFlag(listen string) string {
	if near := nearAddress(listen); near != "127.0.0.1:2159" {
		return " --listen " + near
	}
	return ""
}

// remoteAddress is where a client elsewhere reaches a listening address, with HOST for what only the one who reads it knows.
func remoteAddress(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if ip, ierr := netip.ParseAddr(host); err == nil && (host == "" || ierr == nil && ip.IsUnspecified()) {
		return net.JoinHostPort("HOST", port)
	}
	return listen
}

// dialAddress is where a client on this machine reaches a listening address.
func dialAddress(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
