package command

import (
	"embed"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Completion is the command that prints a shell's script. The script asks this program, each time, by `__complete WORD...`, which is also
// what kubectl asks of a plugin's kubectl_complete-NAME: one candidate a line, with a tab and its help, and in the end ":4", or ":0" where
// files are candidates, too (github.com/spf13/cobra, shell completion directives).
type Completion struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

//go:embed completion
var scripts embed.FS

// Run prints the script.
func (c *Completion) Run(s *Streams) error {
	script, err := scripts.ReadFile("completion/" + c.Shell)
	if err != nil {
		return err
	}
	_, err = s.Out.Write(script)
	return err
}

// Help says what to do with it.
func (c *Completion) Help() string {
	return `In ~/.bashrc, in ~/.zshrc after compinit, or once for fish:

  source <(kubectl-envoyshim completion bash)
  source <(kubectl-envoyshim completion zsh)
  kubectl-envoyshim completion fish > ~/.config/fish/completions/kubectl-envoyshim.fish

For "kubectl envoyshim" an executable file kubectl_complete-envoyshim on PATH:

  #!/bin/sh
  exec kubectl-envoyshim __complete "$@"
`
}

// A Candidate is one word that could stand where the cursor is.
type Candidate struct{ Word, Help string }

// A completer knows a command line's words, its last one unfinished.
type completer struct {
	node    *kong.Node
	flag    *kong.Flag // that wants the next word as its value
	dashes  bool       // "--" was there: no flags any more
	given   int        // positional arguments
	dynamic map[string]func() []Candidate
}

// complete writes the candidates for the last of words.
func (l Line) complete(app *kong.Application, words []string, out io.Writer) {
	if len(words) == 0 {
		words = []string{""}
	}
	c := completer{node: app.Node, dynamic: l.Complete}
	for _, w := range words[:len(words)-1] {
		c.take(w)
	}
	candidates, files := c.candidates(words[len(words)-1])
	for _, k := range candidates {
		fmt.Fprintf(out, "%s\t%s\n", k.Word, k.Help)
	}
	if files {
		fmt.Fprintln(out, ":0")
	} else {
		fmt.Fprintln(out, ":4")
	}
}

// take goes on behind a finished word.
func (c *completer) take(word string) {
	switch {
	case c.flag != nil:
		c.flag = nil
	case !c.dashes && word == "--":
		c.dashes = true
	case !c.dashes && strings.HasPrefix(word, "-") && word != "-":
		name, _, hasValue := strings.Cut(word, "=")
		if f := c.find(name); f != nil && !hasValue && !f.IsBool() && !f.IsCounter() {
			c.flag = f
		}
	default:
		if child := c.child(word); child != nil && c.given == 0 {
			c.node = child
			return
		}
		c.given++
	}
}

func (c *completer) child(name string) *kong.Node {
	for _, n := range c.node.Children {
		if n.Name == name || slices.Contains(n.Aliases, name) {
			return n
		}
	}
	return nil
}

// find is the flag that is written so, as --mode or -f.
func (c *completer) find(word string) *kong.Flag {
	for f := range c.flags() {
		if word == "--"+f.Name || f.Short != 0 && word == "-"+string(f.Short) {
			return f
		}
	}
	return nil
}

func (c *completer) flags() func(yield func(*kong.Flag) bool) {
	return func(yield func(*kong.Flag) bool) {
		for _, group := range c.node.AllFlags(true) {
			for _, f := range group {
				if !yield(f) {
					return
				}
			}
		}
	}
}

// candidates are the words that begin as the unfinished one does, and whether files are meant as well.
func (c *completer) candidates(begun string) (found []Candidate, files bool) {
	var all []Candidate
	name, _, hasValue := strings.Cut(begun, "=")
	switch {
	case c.flag != nil:
		all, files = c.values(c.flag.Value)
	case !c.dashes && hasValue && strings.HasPrefix(name, "-"):
		f := c.find(name)
		if f == nil {
			return nil, false
		}
		all, files = c.values(f.Value)
		for i := range all {
			all[i].Word = name + "=" + all[i].Word
		}
	case !c.dashes && strings.HasPrefix(begun, "-"):
		for f := range c.flags() {
			all = append(all, Candidate{"--" + f.Name, f.Help})
		}
	default:
		if c.given == 0 {
			for _, n := range c.node.Children {
				if !n.Hidden {
					all = append(all, Candidate{n.Name, n.Help})
				}
			}
		}
		if at := min(c.given, len(c.node.Positional)-1); at >= 0 && (at == c.given || c.node.Positional[at].IsCumulative()) {
			more, f := c.values(c.node.Positional[at])
			all, files = append(all, more...), f
		}
	}
	for _, k := range all {
		if strings.HasPrefix(k.Word, begun) {
			found = append(found, k)
		}
	}
	return found, files
}

// values are those of a flag or an argument: of its enum, or by its tag `complete`, which says "file" or names one of the Line's functions.
func (c *completer) values(v *kong.Value) (all []Candidate, files bool) {
	by := v.Tag.Get("complete")
	switch {
	case v.Enum != "":
		for _, w := range v.EnumSlice() {
			all = append(all, Candidate{Word: w})
		}
	case by == "file":
		return nil, true
	case c.dynamic[by] != nil:
		all = c.dynamic[by]()
	}
	return all, false
}
