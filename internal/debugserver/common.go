//go:build linux

package debugserver

import "maps"

// common are the requests that mean the same to both clients.
func common() requests {
	all := unattached()
	maps.Copy(all, requests{
		"?":                          only((*session).whyStopped),
		"!":                          only((*session).extend),
		"QNonStop:":                  (*session).nonStop,
		"qAttached":                  (*session).attached,
		"H":                          (*session).chooseThread,
		"T":                          (*session).threadAlive,
		"qC":                         only((*session).currentThread),
		"qfThreadInfo":               only((*session).firstThreads),
		"qsThreadInfo":               only((*session).moreThreads),
		"qThreadExtraInfo,":          (*session).threadName,
		"g":                          (*session).readAll,
		"G":                          (*session).writeAll,
		"p":                          (*session).readOne,
		"P":                          (*session).writeOne,
		"m":                          (*session).readMemory,
		"M":                          (*session).writeMemory,
		"X":                          (*session).writeBinary,
		"Z":                          (*session).insert,
		"z":                          (*session).remove,
		"vCont?":                     only((*session).resumeActions),
		"vCont;":                     (*session).resume,
		"c":                          (*session).goOn,
		"C":                          (*session).goOnSignalled,
		"s":                          (*session).step,
		"S":                          (*session).stepSignalled,
		"QPassSignals:":              (*session).passSignals,
		"qXfer:features:read:":       transfer((*session).features),
		"qXfer:auxv:read:":           transfer((*session).auxv),
		"qXfer:siginfo:read:":        transfer((*session).siginfo),
		"qXfer:siginfo:write:":       (*session).writeSiginfo,
		"qXfer:exec-file:read:":      transfer((*session).execFile),
		"qXfer:libraries-svr4:read:": transfer((*session).libraries),
		"qRcmd,":                     (*session).monitor,
		"qSearch:memory:":            (*session).search,
		"D":                          (*session).detach,
		"k":                          only((*session).quit),
		"vKill":                      (*session).kill,
		"vAttach;":                   (*session).attach,
		"R":                          silent,
		"r":                          silent,
	})
	return all
}

// unattached are those of them that need no process.
func unattached() requests {
	return requests{
		"QStartNoAckMode": only((*session).stopAcks),
		"vMustReplyEmpty": unknown,
		"vFile:":          (*session).file,
	}
}

func unknown(*session, string) (string, error) { return "", errUnknown }

// silent stands for restarts of the program, which has a parent that would not know: they have no reply (GDB
// manual, "Packets", R and r).
func silent(*session, string) (string, error) { return "", errSilent }

// whyStopped is GDB manual, "Packets", ?.
func (c *session) whyStopped() (string, error) {
	c.choose(0)
	return c.dialect.stopReply(c), nil
}

// extend is GDB manual, "Packets", !: with one process it changes little.
func (c *session) extend() (string, error) {
	return "OK", nil
}

// stopAcks is GDB manual, "Packet Acknowledgment".
func (c *session) stopAcks() (string, error) {
	c.conn.StopAcks()
	return "OK", nil
}

// nonStop is GDB manual, "General Query Packets", QNonStop. Stops of single threads would be
// notifications, which could not be kept for the next client when this one is lost.
func (c *session) nonStop(args string) (string, error) {
	switch args {
	case "0":
		return "OK", nil
	case "1":
		return "", errNonStop
	}
	return "", errMalformed
}

// attached is GDB manual, "General Query Packets", qAttached: a client that leaves is to
// detach.
func (c *session) attached(args string) (string, error) {
	if args != "" && args[0] != ':' {
		return "", errUnknown
	}
	return "1", nil
}
