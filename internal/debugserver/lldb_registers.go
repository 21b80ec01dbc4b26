//go:build linux

package debugserver

import (
	"fmt"
	"strconv"
	"strings"
)

// savedRegisters are register sets by note type.
type savedRegisters map[int][]byte

// maxSaved bounds what a client has saved: it does so around each expression, and these nest rarely.
const maxSaved = 256

// saveRegisters is LLDB, "QSaveRegisterState".
func (c *session) saveRegisters(args string) (string, error) {
	rest, tid, err := c.ofThread(args)
	if err != nil {
		return "", err
	}
	if rest != "" {
		return "", errMalformed
	}
	if len(c.saved) >= maxSaved {
		return "", fmt.Errorf("%d register states are saved already", maxSaved)
	}
	saved := savedRegisters{}
	for _, note := range []int{ntPrstatus, ntFpregset, ntXState} {
		if set, err := c.target.Regset(tid, note); err == nil {
			saved[note] = set
		} else if note == ntPrstatus {
			return "", err
		}
	}
	id := 1
	for c.saved[id] != nil {
		id++
	}
	c.saved[id] = saved
	return strconv.Itoa(id), nil
}

// restoreRegisters is LLDB, "QRestoreRegisterState".
func (c *session) restoreRegisters(args string) (string, error) {
	rest, tid, err := c.ofThread(args)
	if err != nil {
		return "", err
	}
	id, err := strconv.Atoi(strings.TrimSpace(rest))
	saved, ok := c.saved[id]
	if err != nil || !ok {
		return "", fmt.Errorf("no register state %q is saved", rest)
	}
	delete(c.saved, id)
	for _, note := range []int{ntFpregset, ntXState, ntPrstatus} {
		if set, ok := saved[note]; ok {
			if err := c.target.SetRegset(tid, note, set); err != nil {
				return "", err
			}
		}
	}
	return "OK", nil
}
