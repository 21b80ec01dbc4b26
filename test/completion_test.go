package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What the shells offer behind the words of a line, each asked in its own way, by its script.
func TestCompletion(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Symlink(kubectlCLI(t), filepath.Join(dir, "kubectl-envoyshim")))
	must(t, os.WriteFile(filepath.Join(dir, "certificates"), nil, 0o600))
	shells := map[string]string{
		"bash": `source <(kubectl-envoyshim completion bash)
			read -ra COMP_WORDS <<<"${1//=/ = }"; [[ $1 == *" " ]] && COMP_WORDS+=("")
			COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _kubectl_envoyshim; printf '%s\n' "${COMPREPLY[@]}"`,
		// Typed at a terminal of its own: the tab writes what all candidates have in common.
		"zsh": `zmodload zsh/zpty; zpty shell zsh -f -i
			zpty -w shell 'PS1=; TERM=dumb; unsetopt zle_bracketed_paste; autoload -U compinit; compinit -u; source <(kubectl-envoyshim completion zsh); bindkey "^I" complete-word; done=do; echo ready=$done'
			zpty -r shell line '*ready=do*'; zpty -w -n shell "$1"$'\t'$'\x01''print -r -- "<' ; zpty -w shell $'\x05''>"'
			while zpty -r shell line; do [[ $line == *$'\n<'* || $line == '<'* ]] && print -r -- "$line" && break; done; zpty -d shell`,
		"fish": `kubectl-envoyshim completion fish | source; complete -C "$argv[2]"`,
	}
	for _, c := range []struct{ line, want string }{
		{"kubectl-envoyshim conn", "connect"},
		{"kubectl-envoyshim connect --lis", "--listen"},
		{"kubectl-envoyshim --version connect --serv", "--server-name"},
		{"kubectl-envoyshim completion f", "fish"},
		{"kubectl-envoyshim connect --tls-dir cert", "certificates"},
		{"kubectl-envoyshim connect --tls-dir=cert", "certificates"},
		{"kubectl-envoyshim inject -f cert", "certificates"},
		{"kubectl-envoyshim inject --mode lldb-", "lldb-platform"},
		{"kubectl-envoyshim ide gdb --breakpoints sta", "startup"},
	} {
		for shell, script := range shells {
			cmd := exec.Command(shell, "-c", script, shell, c.line)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir, "XDG_CONFIG_HOME="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), c.want) {
				t.Errorf("%s: %q: %v\n%s\nwant %s", shell, c.line, err, out, c.want)
			}
		}
	}
}
