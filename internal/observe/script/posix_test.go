package script

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The real grep, which matches as gdb and lldb do, finds at least what RE2 finds.
func TestPOSIXExpressions(t *testing.T) {
	names := []string{"epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait2", "Envoy::Api::OsSysCallsImpl::bind", "main", "a+b", "a{1}", "x.y", "operator()",
		"wrk|er", "[1]", "^", "$", `back\slash`, "Upper", "upper", "aaab", "foo_12"}
	for expression, exact := range map[string]bool{
		".*OsSysCallsImpl.*":             true,
		"^epoll_(create.*|p?wait2?|ctl)": true,
		"epoll_c(?:reate1|tl)":           true,
		`a\+b|a\{1\}|x\.y`:               true,
		`operator\(\)`:                   true,
		`wrk\|er|\[1\]|\^|\$|\\`:         false,
		"(?i)upper":                      false,
		"a{3}b":                          true,
		`foo_\d+`:                        true,
		"^main$":                         true,
		"[ab]+b":                         true,
		"(epoll)_(create)?":              true,
		`\bmain\b`:                       true,
		"[^a-z]pper":                     false,
	} {
		for kind, d := range map[string]dialect{"-G": basic, "-E": extended} {
			posix, err := d.translate(expression)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("grep", kind, "-e", posix)
			cmd.Stdin = strings.NewReader(strings.Join(names, "\n") + "\n")
			cmd.Env = []string{"LC_ALL=C"}
			out, _ := cmd.Output()
			found := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
			var want []string
			for _, n := range names {
				if regexp.MustCompile(expression).MatchString(n) {
					want = append(want, n)
				}
			}
			if len(want) == 0 {
				t.Fatalf("%s matches nothing: no test", expression)
			}
			for _, n := range want {
				if !slices.Contains(found, n) {
					t.Errorf("%s as %s %s does not find %s", expression, kind, posix, n)
				}
			}
			if exact && len(found) != len(want) {
				t.Errorf("%s as %s %s finds %q, not %q", expression, kind, posix, found, want)
			}
		}
	}
}
