//go:build linux

package debugserver

import (
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

var errNoMoreProcesses = errors.New("no more processes")

// A hostProcess is what the platform tells of a process.
type hostProcess struct {
	pid    int
	stat   procfs.Stat
	status procfs.Status
	exe    string // "" when it may not be read
}

func readProcess(pid int) (p hostProcess, err error) {
	p.pid = pid
	if p.stat, err = procfs.ReadStat(pid); err == nil {
		p.status, err = procfs.ReadStatus(pid)
	}
	p.exe = procfs.Exe(pid)
	return p, err
}

// namesOf are what a user may call a process by: that of its program, if that may be read, and the one that the kernel shows.
func namesOf(exe, comm string) []string {
	if exe == "" {
		return []string{comm}
	}
	return []string{path.Base(exe), comm}
}

// reply is LLDB, "qProcessInfoPID": numbers are decimal here.
func (p hostProcess) reply() string {
	name := p.exe
	if name == "" {
		name = p.stat.Comm
	}
	var args []string
	for _, arg := range procfs.Args(p.pid) {
		args = append(args, toHex(arg))
	}
	return fmt.Sprintf("pid:%d;ppid:%d;uid:%d;gid:%d;euid:%d;egid:%d;name:%x;args:%s;triple:%x;",
		p.pid, p.stat.PPID, p.status.RealUID, p.status.RealGID, p.status.UID, p.status.GID, name, strings.Join(args, "-"), lldbTriple)
}

// A processMatch is what a client looks for: processes of which all holds.
type processMatch struct {
	all       []func(hostProcess) bool
	exactName bool
}

func (m processMatch) includes(p hostProcess) bool {
	for _, holds := range m.all {
		if !holds(p) {
			return false
		}
	}
	return true
}

// processNumbers are what a client may look for by number.
var processNumbers = map[string]func(hostProcess) int{
	"pid":        func(p hostProcess) int { return p.pid },
	"parent_pid": func(p hostProcess) int { return p.stat.PPID },
	"uid":        func(p hostProcess) int { return p.status.RealUID },
	"gid":        func(p hostProcess) int { return p.status.RealGID },
	"euid":       func(p hostProcess) int { return p.status.UID },
	"egid":       func(p hostProcess) int { return p.status.GID },
}

// nameMatches are the ways to look for a name.
var nameMatches = map[string]func(s, name string) bool{
	"equals":      func(s, name string) bool { return s == name },
	"contains":    strings.Contains,
	"starts_with": strings.HasPrefix,
	"ends_with":   strings.HasSuffix,
	"regex":       func(s, name string) bool { ok, _ := regexp.MatchString(name, s); return ok },
}

// parseMatch is LLDB, "qfProcessInfo": any number of "key:value;". Who does not ask for all users gets the processes of user, all when that is
// root.
func parseMatch(args string, user int) (m processMatch, err error) {
	name, allUsers := "", args == ""
	var matches func(s, name string) bool
	for pair := range strings.SplitSeq(strings.Trim(args, ":;"), ";") {
		key, value, _ := strings.Cut(pair, ":")
		number, numeric := processNumbers[key]
		switch {
		case pair == "", key == "triple": // all are of this machine
		case key == "all_users":
			allUsers = value == "1"
		case key == "name":
			name, err = text(value)
		case key == "name_match":
			matches = nameMatches[value]
			m.exactName = value == "equals"
			if matches == nil {
				return m, errMalformed
			}
		case numeric:
			n, aerr := strconv.Atoi(value)
			m.all, err = append(m.all, func(p hostProcess) bool { return number(p) == n }), aerr
		default:
			return m, errMalformed
		}
		if err != nil {
			return m, errMalformed
		}
	}
	if matches != nil {
		m.all = append(m.all, func(p hostProcess) bool {
			return slices.ContainsFunc(namesOf(p.exe, p.stat.Comm), func(s string) bool { return matches(s, name) })
		})
	}
	if !allUsers && user != 0 {
		m.all = append(m.all, func(p hostProcess) bool { return p.status.UID == user })
	}
	return m, nil
}

// oneProcess is LLDB, "qProcessInfoPID".
func (p *platformSession) oneProcess(_ *session, args string) (string, error) {
	pid, err := strconv.Atoi(args)
	if err != nil {
		return "", errMalformed
	}
	info, err := readProcess(pid)
	if err != nil {
		return "", err
	}
	return info.reply(), nil
}

// firstProcess is LLDB, "qfProcessInfo". By its exact name the process that can be attached is found alone: a client that attaches by name
// gives up when several have it.
func (p *platformSession) firstProcess(c *session, args string) (string, error) {
	match, err := parseMatch(args, os.Geteuid())
	if err != nil {
		return "", err
	}
	pids, err := p.Processes()
	if err != nil {
		return "", err
	}
	p.found = nil
	for _, pid := range pids {
		info, err := readProcess(pid)
		if err != nil || !match.includes(info) {
			continue
		}
		if pid == p.PID && match.exactName {
			p.found = []hostProcess{info}
			break
		}
		p.found = append(p.found, info)
	}
	return p.nextProcess(c, "")
}

// nextProcess is LLDB, "qsProcessInfo".
func (p *platformSession) nextProcess(*session, string) (string, error) {
	if len(p.found) == 0 {
		return "", errNoMoreProcesses
	}
	next := p.found[0]
	p.found = p.found[1:]
	return next.reply(), nil
}
