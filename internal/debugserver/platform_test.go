//go:build linux

package debugserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

var errTaken = errors.New("somebody else has it")

// visit is a new client of the platform, before it has said anything.
func visit(t testing.TB, p *Platform, attach func() (Target, error)) *session {
	t.Helper()
	s := &platformSession{Platform: p, seize: attach}
	c := s.session(quietConn(t))
	t.Cleanup(c.close)
	return c
}

// testPlatform serves this process, and shows it with its parent.
func testPlatform() *Platform {
	return &Platform{PID: os.Getpid(), Port: 2159, Processes: func() ([]int, error) { return []int{os.Getppid(), os.Getpid()}, nil }}
}

func seizeFake() (Target, error) { return newFake(), nil }

func seizeNothing() (Target, error) { return nil, errTaken }

func TestRepliesOfThePlatform(t *testing.T) {
	self, parent, name := os.Getpid(), os.Getppid(), filepath.Base(procfs.Exe(os.Getpid()))
	mine, err := readProcess(self)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := readProcess(parent)
	if err != nil {
		t.Fatal(err)
	}
	failure := func(text string) string { return "E01;" + toHex(text) }
	here := fmt.Sprintf("this port serves %s, process %d", name, self)
	for _, test := range []struct{ promise, request, want string }{
		{"a port to debug at, which is this one", "qLaunchGDBServer;port:0;host:laptop;", fmt.Sprintf("pid:%d;port:2159;", self)},
		{"nothing was spawned that could be killed", "qKillSpawnedProcess:1", "OK"},
		{"a process by its id", fmt.Sprintf("qProcessInfoPID:%d", parent), theirs.reply()},
		{"no such process", "qProcessInfoPID:4194305", failure("open /proc/4194305/stat: no such file or directory")},
		{"an id that is none", "qProcessInfoPID:-", failure(errMalformed.Error())},
		{"all processes", "qfProcessInfo", theirs.reply()},
		{"by name", "qfProcessInfo:name_match:equals;name:" + toHex(name) + ";all_users:0;", mine.reply()},
		{"by the kernel's name", "qfProcessInfo:name:" + toHex(mine.stat.Comm) + ";name_match:equals;", mine.reply()},
		{"by a part of the name", "qfProcessInfo:name_match:contains;name:" + toHex(name[1:5]) + ";pid:" + strconv.Itoa(self) + ";", mine.reply()},
		{"by a pattern", "qfProcessInfo:name_match:regex;name:" + toHex("^"+name[:4]+".*") + ";parent_pid:" + strconv.Itoa(parent) + ";", mine.reply()},
		{"a pattern that is none", "qfProcessInfo:name_match:regex;name:" + toHex("(") + ";", failure(errNoMoreProcesses.Error())},
		{"another beginning", "qfProcessInfo:name_match:starts_with;name:" + toHex("no "+name) + ";", failure(errNoMoreProcesses.Error())},
		{"another end", "qfProcessInfo:name_match:ends_with;name:" + toHex(name+" not") + ";", failure(errNoMoreProcesses.Error())},
		{"another user", "qfProcessInfo:uid:4242;", failure(errNoMoreProcesses.Error())},
		{"an unknown criterion", "qfProcessInfo:colour:red;", failure(errMalformed.Error())},
		{"an unknown way to match", "qfProcessInfo:name_match:roughly;name:61;", failure(errMalformed.Error())},
		{"root by its id", "qUserName:0", toHex("root")},
		{"root's group", "qGroupName:0", toHex("root")},
		{"nobody's id", "qUserName:424242", failure(errNoSuchID.Error())},
		{"no command is run", "qPlatform_shell:" + toHex("id") + ",0a", "F,1,0," + noShell},
		{"no directory is made", "qPlatform_mkdir:1ff," + toHex("/tmp/x"), "F1e"},
		{"no permission is changed", "qPlatform_chmod:1ff," + toHex("/tmp"), "F1e"},
		{"no file is written", "vFile:open:" + toHex("/tmp/x") + ",202,1a4", "F-1,1e"},
		{"nor linked", "vFile:symlink:" + toHex("/tmp/x") + "," + toHex("/tmp/y"), "F-1,1e"},
		{"no program is started", "A14,0," + toHex("/bin/id"),
			failure(fmt.Sprintf("envoyshim starts no program: %s is there already, as process %d; process attach --pid %d", name, self, self))},
		{"another process", "vAttach;1", failure("process 1 cannot be attached here: " + here)},
		{"another name", "vAttachName;" + toHex("nginx"), failure("no process nginx can be attached here: " + here)},
		{"waiting for another name", "vAttachWait;" + toHex("nginx"), failure("no process nginx can be attached here: " + here)},
		{"waiting for what is there", "vAttachWait;" + toHex("/usr/local/bin/"+name),
			failure(fmt.Sprintf("%s is there already, as process %d, and waitfor would wait for another one for ever: "+
				"process attach --name %s without it, or no \"waitFor\" in launch.json", name, self, name))},
		{"what is not attached", "m0,4", failure(errNotAttached.Error())},
		{"leaving what is not attached", "k", failure(errNotAttached.Error())},
		{"what nobody asks", "qNobodyAsksThis", ""},
	} {
		t.Run(test.promise, func(t *testing.T) {
			c := visit(t, testPlatform(), seizeNothing)
			c.answer("qQueryGDBServer")
			if got, silent := c.answer(test.request); got != test.want || silent || c.ending != nil {
				t.Errorf("%q gives %q, want %q; ending %v", test.request, got, test.want, c.ending)
			}
		})
	}
}

func TestProcessesOneAfterTheOther(t *testing.T) {
	c := visit(t, testPlatform(), seizeNothing)
	for i, request := range []string{"qfProcessInfo", "qsProcessInfo"} {
		if got, _ := c.answer(request); !strings.HasPrefix(got, fmt.Sprintf("pid:%d;", []int{os.Getppid(), os.Getpid()}[i])) {
			t.Errorf("%s gives %q", request, got)
		}
	}
	if got, _ := c.answer("qsProcessInfo"); !strings.HasPrefix(got, "E01") {
		t.Errorf("after the last comes %q", got)
	}
}

func TestWorkingDirectoryOfAClient(t *testing.T) {
	c := visit(t, testPlatform(), seizeNothing)
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	exists := "vFile:exists:" + toHex("passwd")
	for _, step := range []struct{ request, want string }{
		{"qGetWorkingDir", toHex(here)},
		{exists, "F,0"},
		{"QSetWorkingDir:" + toHex("/no/such/directory"), "E01"},
		{"QSetWorkingDir:" + toHex("/etc/"), "OK"},
		{"qGetWorkingDir", toHex("/etc")},
		{exists, "F,1"},
	} {
		if got, _ := c.answer(step.request); got != step.want {
			t.Errorf("%s gives %q, want %q", step.request, got, step.want)
		}
	}
	if now, _ := os.Getwd(); now != here {
		t.Errorf("the server has gone to %s", now)
	}
}

// Who is sent by a platform waits for its own wish; everybody else finds the process attached.
func TestWhoWaitsToAttach(t *testing.T) {
	p := testPlatform()
	attached := func(c *session) bool {
		t.Helper()
		if got, _ := c.answer("qSupported:xmlRegisters=i386"); !strings.HasPrefix(got, "PacketSize") {
			t.Fatalf("qSupported gives %q", got)
		}
		got, _ := c.answer("qProcessInfo")
		return strings.HasPrefix(got, "pid:")
	}
	platform := visit(t, p, seizeFake)
	platform.answer("qQueryGDBServer")
	if attached(platform) {
		t.Error("a platform connection has attached the process")
	}
	if !attached(visit(t, p, seizeFake)) {
		t.Error("a debugger that nobody sent has nothing attached")
	}
	platform.answer("qLaunchGDBServer;host:laptop;")
	sent := visit(t, p, seizeFake)
	if attached(sent) {
		t.Error("a debugger that was sent was not asked for its wish")
	}
	if !attached(visit(t, p, seizeFake)) {
		t.Error("two were expected")
	}
	if got, _ := sent.answer(fmt.Sprintf("vAttach;%x", os.Getpid())); !strings.HasPrefix(got, "T") || !attached(sent) {
		t.Errorf("vAttach gives %q", got)
	}
}

// A debugger that cannot have the process is not left in the belief that it has.
func TestADebuggerThatCannotAttach(t *testing.T) {
	tries := 0
	c := visit(t, testPlatform(), func() (Target, error) { tries++; return nil, errTaken })
	for _, step := range []struct{ request, want string }{
		{"qSupported", "PacketSize="}, {"qProcessInfo", fmt.Sprintf("pid:%x;", os.Getpid())}, {"qfThreadInfo", "E01"},
	} {
		if got, silent := c.answer(step.request); !strings.HasPrefix(got, step.want) || silent || c.ending != nil {
			t.Errorf("%s gives %q, want %s; ending %v", step.request, got, step.want, c.ending)
		}
	}
	if got, silent := c.answer("?"); !silent || c.ending == nil || c.ending.How != Lost || tries != 1 {
		t.Errorf("? gives %q, ending %v, after %d tries", got, c.ending, tries)
	}
	p := testPlatform()
	visit(t, p, seizeNothing).answer("qLaunchGDBServer")
	c = visit(t, p, seizeNothing)
	c.answer("QEnableErrorStrings")
	c.answer("qProcessInfo")
	if got, _ := c.answer(fmt.Sprintf("vAttach;%x", os.Getpid())); got != "E01;"+toHex(errTaken.Error()) || c.ending != nil {
		t.Errorf("it gets %q, ending %v", got, c.ending)
	}
}

// FuzzPlatform: no sequence of requests makes the platform fail, or attaches the process where that is not to be had.
func FuzzPlatform(f *testing.F) {
	s := &platformSession{Platform: testPlatform()}
	for _, requests := range []requests{s.requests(), unattached(), lldbHost(), lldbAgreements()} {
		for prefix := range requests {
			f.Add(prefix, false)
			f.Add("qQueryGDBServer\n"+prefix+"0,1:"+toHex("envoy")+";\n"+prefix, true)
		}
	}
	for _, seed := range []string{
		"qfProcessInfo:name_match:regex;name:5b;all_users:1;\nqsProcessInfo\nqsProcessInfo", "qfProcessInfo:;:;;pid:99999999999999999999;",
		fmt.Sprintf("qLaunchGDBServer\nvAttach;%x\nqProcessInfo\nvCont;c\nk", os.Getpid()), "vAttachWait;\nvAttachName;zz\nvAttachOrWait;2f",
		"QSetWorkingDir:2e2e2f2e2e\nqGetWorkingDir\nvFile:size:00",
		"qUserName:\nqGroupName:-1\nqProcessInfoPID:0", "A\nA5,0,6\nvRun;;;\nqLaunchSuccess",
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	f.Fuzz(func(t *testing.T, requests string, free bool) {
		attach := seizeNothing
		if free {
			attach = seizeFake
		}
		c := visit(t, testPlatform(), attach)
		for request := range strings.SplitSeq(requests, "\n") {
			if c.ending != nil {
				return
			}
			reply, silent := c.answer(request)
			if silent && reply != "" {
				t.Errorf("%q has no reply, and the reply %q", request, reply)
			}
			if c.target != nil && !free {
				t.Fatalf("%q has attached", request)
			}
		}
	})
}
