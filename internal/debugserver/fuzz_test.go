//go:build linux

package debugserver

import (
	"strings"
	"testing"
)

// FuzzAnswer: no sequence of requests makes the server fail. Requests are separated by line ends.
func FuzzAnswer(f *testing.F) {
	for _, requests := range []requests{common(), gdbDialect.requests(), lldbDialect.requests()} {
		for prefix := range requests {
			f.Add(prefix, false)
			f.Add(prefix+"0,10:1;2\nvCont;c\n"+prefix, true)
		}
	}
	for _, seed := range []string{
		"qSupported:multiprocess+;swbreak+;fork-events+\n?\nvCont;s\ng\nvCont;c\nHgp3039.3039\nz0,10,1",
		"QSaveRegisterState;thread:1;\nQRestoreRegisterState:1;thread:1;", "_M1000,rwx\n_m1000\n_m1000",
		"vFile:open:2f6574632f686f737473,0,0\nvFile:pread:3,10,0\nvFile:fstat:3\nvFile:pread:3,10,ffffffffffffffff\nvFile:close:3",
		"jModulesInfo:[{\"file\":\"/bin/true\",\"triple\":\"x\"}]", "qXfer:siginfo:write::0:xyz", "qXfer:siginfo:write::ffffffffffffffff:xyz",
		"qSearch:memory:0;ffffffffffffffff;x", "P0=00;thread:1;", "G00", "QCatchSyscalls:1;1;2", "QPassSignals:;1;fff", "qXfer:libraries-svr4:read::0,10",
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	f.Fuzz(func(t *testing.T, requests string, lldb bool) {
		target := newFake()
		c := talk(t, target, lldb)
		for request := range strings.SplitSeq(requests, "\n") {
			if c.ending != nil {
				return
			}
			reply, silent := c.answer(request)
			if silent && reply != "" {
				t.Errorf("%q has no reply, and the reply %q", request, reply)
			}
		}
	})
}
