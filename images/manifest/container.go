package manifest

import (
	"slices"
	"strconv"
	"strings"
)

// lift makes a probe patient; full says to write one where there is none.
func (i *injection) lift(probe path, full bool) error {
	_, n, err := i.walk(probe)
	switch {
	case err != nil:
		return err
	case n != nil:
		if tries, _ := strconv.Atoi(text(find(n, "failureThreshold"))); tries >= forever {
			return nil
		}
		return i.set(probe.join("failureThreshold"), integer(forever))
	case full:
		return i.set(probe, startupProbe())
	}
	return nil
}

// liftProbes makes those probes of a container patient that have it killed.
func (i *injection) liftProbes(c container, full bool) error {
	if err := i.lift(i.in(c, "startupProbe"), full); err != nil {
		return err
	}
	return i.lift(i.in(c, "livenessProbe"), false)
}

// waitLonger makes a postStart hook that is `pilot-agent wait` patient.
func (i *injection) waitLonger(hook path) error {
	command := hook.join("exec", "command")
	_, n, err := i.walk(command)
	if err != nil || n == nil {
		return err
	}
	words := container{node: mapping("command", n)}.words("command")
	if len(words) < 2 || base(words[0]) != "pilot-agent" || words[1] != "wait" {
		i.warn("the postStart hook of istio-proxy is not known here: whether it gives up while Envoy is held is for you to see")
		return nil
	}
	at := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, waitFlag) })
	if at >= 0 {
		return i.set(command.join("[@"+strconv.Itoa(at)+"]"), waitForever())
	}
	return i.appendTo(command, waitForever())
}
