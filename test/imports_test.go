package test

import (
	"os/exec"
	"slices"
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
