//go:build linux

package cli

import (
	"errors"
	"fmt"

	"github.com/envoyshim/envoyshim/launcher"
)

// the is the process of that pid, or, for 0, the only one under envoyshim here; command also starts one.
func the(pid int, command string) (launcher.Status, error) {
	all, err := launcher.Find(pid)
	switch {
	case err != nil:
		return launcher.Status{}, err
	case len(all) == 0:
		return launcher.Status{}, fmt.Errorf("no process is under envoyshim here; name one by --pid, or start one by `envoyshim %s -- ELF`", command)
	case len(all) > 1:
		return launcher.Status{}, errors.New("several processes are under envoyshim here, see `envoyshim status`: choose one by --pid")
	}
	return all[0], nil
}
