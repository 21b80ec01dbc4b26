package nsutil

import (
	"errors"
	"os"
)

// Set is a set of kinds of namespaces, by their flags of clone(2): CLONE_NEWPID and so on.
type Set uint32

// A Command is to be executed in namespaces of another process.
type Command struct {
	Target     *os.File // pidfd of the process whose namespaces are entered
	Namespaces Set
	Root       bool     // with its root directory and working directory, too
	Argv       []string // Argv[0] without a slash is looked up on PATH behind the entry
	Exe        *os.File // execute this file, which need not be there behind the entry (execveat(2), AT_EMPTY_PATH); nil: Argv[0]
	Env        []string
	Files      []*os.File // descriptors 0, 1, 2, ...
}

// Start starts the command. What is returned is a child of this process: its status is the command's, signals reach it.
func (c *Command) Start() (*os.Process, error) { return nil, errors.New("not yet") }
