package test

import (
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What is linked into the pod's program is paid for at each start: nothing of Kubernetes, of registries, of YAML, of Delve, of TLS. What
// kubectl-envoyshim shares with it makes no use of its other half.
func TestImports(t *testing.T) {
	list := func(program, format string) []string {
		cmd := exec.Command("go", "list", "-deps", "-tags", "carried", "-f", format, program)
		cmd.Dir = ".."
		out, err := cmd.Output()
		must(t, err)
		all := strings.Fields(string(out))
		slices.Sort(all)
		return slices.Compact(all)
	}
	const modules, packages = "{{with .Module}}{{.Path}}{{end}}", "{{.ImportPath}}"
	want := []string{
		"github.com/agnivade/levenshtein", "github.com/alecthomas/kong", "github.com/envoyshim/envoyshim", "github.com/ianlancetaylor/demangle",
		"github.com/mattn/go-colorable", "github.com/mattn/go-isatty", "github.com/mattn/go-shellwords", "github.com/rs/zerolog", "golang.org/x/sys",
	}
	if got := list(".", modules); !slices.Equal(got, want) {
		t.Errorf("bin/envoyshim links\n%q, not\n%q", got, want)
	}
	const own = "github.com/envoyshim/envoyshim/"
	for program, others := range map[string][]string{
		".":                       {"crypto/tls", own + "images", own + "internal/kube", own + "internal/ide", own + "internal/mtls", own + "internal/delve/server"},
		"./cmd/kubectl-envoyshim": {own + "launcher", own + "internal/cli", own + "internal/tracee", own + "internal/debugserver", own + "internal/delve", own + "internal/tlsport"},
		"./nsutil/...":            {own + "launcher", own + "internal/cli", own + "internal/command", own + "internal/debugserver"},
		"./images/...":            {own + "launcher", own + "internal/cli", own + "internal/command", own + "internal/kube", own + "internal/ide"},
	} {
		for _, p := range list(program, packages) {
			if slices.ContainsFunc(others, func(other string) bool { return p == other || strings.HasPrefix(p, other+"/") }) {
				t.Errorf("%s links %s", program, p)
			}
		}
	}
}

// What the project's own packages make before main is paid for at each start, too: tables and regular expressions are made when they are first
// needed (internal/late).
func TestInitialization(t *testing.T) {
	cmd := exec.Command(fixture(t, "bin/envoyshim"), "--version")
	cmd.Env = []string{"GODEBUG=inittrace=1"} // https://pkg.go.dev/runtime#hdr-Environment_Variables
	var out strings.Builder
	cmd.Stderr = &out
	must(t, cmd.Run())
	made := regexp.MustCompile(`(?m)^init github\.com/envoyshim/envoyshim/\S+ .* (\d+) bytes, `).FindAllStringSubmatch(out.String(), -1)
	if len(made) == 0 {
		t.Fatalf("no package of the project is in\n%s", &out)
	}
	sum := 0
	for _, m := range made {
		n, err := strconv.Atoi(m[1])
		must(t, err)
		sum += n
	}
	if limit := 16 << 10; sum > limit {
		t.Errorf("%d bytes are made before main, more than %d:\n%s", sum, limit, &out)
	}
}
