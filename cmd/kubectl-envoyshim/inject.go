package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"github.com/envoyshim/envoyshim/images"
	"github.com/envoyshim/envoyshim/images/manifest"
	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/wholefile"
)

type injectCommand struct {
	Files     []string `name:"filename" short:"f" complete:"file" sep:"none" placeholder:"FILE" help:"Manifest to edit, YAML or JSON; '-' is standard input. Several are joined with '---'."`
	Mode      string   `name:"mode" complete:"mode" default:"debug" placeholder:"MODE" help:"What envoyshim does with Envoy: off, pause, debug, gdb, lldb, lldb-platform, dlv, trace, profile; or a list by name (${default})."`
	Image     string   `name:"image" placeholder:"REF" help:"The debug image; else the one that 'image build' has made of the pod's, or last."`
	NoImage   bool     `name:"no-image" help:"Keep the image, and have an init container copy envoyshim from --shim-image."`
	ShimImage string   `name:"shim-image" placeholder:"REF" help:"For --no-image: a debug image, of any version of Envoy."`
	Listen    string   `name:"listen" placeholder:"ADDR" help:"HOST:PORT of the debug port in the pod; or a list by name (127.0.0.1:2159)."`
	Env       []string `name:"env" sep:"none" placeholder:"K=V" help:"A further variable for envoyshim or Envoy."`
	Container string   `name:"container" short:"c" placeholder:"NAME" help:"The container that runs Envoy, where that cannot be seen."`
	OnlyUID   string   `name:"only-uid" placeholder:"UID" help:"Only this user's outbound traffic passes Envoy."`
	Rules     string   `name:"rules" complete:"file" placeholder:"FILE" help:"For --only-uid: write iptables rules to FILE (and FILE.v6), for what Istio's annotations cannot say."`
	Remove    bool     `name:"remove" help:"Take an injection back."`
	Diff      bool     `name:"diff" help:"Print what would change."`
	InPlace   bool     `name:"in-place" help:"Write the files instead of standard output."`
	nodeAgentFlags
}

func (c *injectCommand) Run(s *command.Streams) error {
	if c.NodeAgent {
		return c.printNodeAgent(s)
	}
	options, err := c.options()
	if err != nil {
		return err
	}
	var out strings.Builder
	written := map[string]string{}
	found := false
	rules := manifest.Rules{UID: c.OnlyUID, Ports: manifest.Options{Listen: c.Listen}.OpenPorts()}
	var rulesFor []string
	for _, name := range c.Files {
		text, label, err := read(s, name)
		if err != nil {
			return err
		}
		result, err := c.edit(label, text, options)
		if err != nil && !errors.Is(err, manifest.ErrNothing) {
			return err
		}
		found = found || err == nil
		for _, warning := range result.Warnings {
			fmt.Fprintf(s.Err, "envoyshim: %s: %s\n", label, warning)
		}
		rulesFor = append(rulesFor, result.RulesFor...)
		rules.Whole = rules.Whole || result.WholeTable
		switch {
		case c.Diff:
			out.WriteString(coloured(s.Out, unified(label, label+" (injected)", text, result.Text)))
		case !c.InPlace:
			join(&out, result.Text)
		case result.Text != text:
			written[name] = result.Text
		}
	}
	if !found {
		return manifest.ErrNothing
	}
	if err := c.writeRules(s, rules, rulesFor); err != nil {
		return err
	}
	for name, text := range written { // once all of them are known to be right
		if err := wholefile.Write(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	_, err = io.WriteString(s.Out, out.String())
	return err
}

func (c *injectCommand) options() (manifest.Options, error) {
	var none manifest.Options
	switch {
	case c.nodeAgentFlags.given():
		return none, command.Usage("--node, --node-selector and --namespace are for --node-agent")
	case len(c.Files) == 0:
		return none, command.Usage("missing flags: --filename=FILE,...")
	case c.NoImage && c.Image != "":
		return none, command.Usage("--image and --no-image: only one of them")
	case c.NoImage != (c.ShimImage != ""):
		return none, command.Usage("--no-image and --shim-image go together")
	case c.InPlace && c.Diff:
		return none, command.Usage("--in-place and --diff: only one of them")
	case c.Remove && c.OnlyUID != "":
		return none, command.Usage("--remove and --only-uid: only one of them")
	case c.Rules != "" && c.OnlyUID == "":
		return none, command.Usage("--rules goes with --only-uid")
	}
	for _, name := range c.Files {
		if c.InPlace && name == "-" {
			return none, command.Usage("standard input cannot be edited --in-place")
		}
	}
	return manifest.Options{
		Mode: c.Mode, Image: c.Image, ShimImage: c.ShimImage, Listen: c.Listen, Env: c.Env, Container: c.Container, OnlyUID: c.OnlyUID,
		Built: images.Built,
	}, nil
}

func (c *injectCommand) edit(name, text string, o manifest.Options) (manifest.Result, error) {
	if c.Remove {
		return manifest.Remove(name, text)
	}
	return manifest.Inject(name, text, o)
}

// printNodeAgent prints a manifest of its own.
func (c *injectCommand) printNodeAgent(s *command.Streams) error {
	switch only := (injectCommand{Mode: c.Mode, Image: c.Image, nodeAgentFlags: c.nodeAgentFlags}); {
	case c.Remove:
		return command.Usage("--node-agent is removed by its own manifest: `kubectl envoyshim inject --node-agent | kubectl delete -f -`")
	case !reflect.DeepEqual(*c, only):
		return command.Usage("--node-agent edits no manifest: only --image, --node, --node-selector and --namespace go with it")
	}
	return c.nodeAgentFlags.print(s, c.Image)
}

// read returns a manifest, and what it is called in messages.
func read(s *command.Streams, name string) (text, label string, err error) {
	if name == "-" {
		b, err := io.ReadAll(s.In)
		return string(b), "standard input", err
	}
	b, err := os.ReadFile(name)
	return string(b), name, err
}

// join makes one stream of manifests.
func join(out *strings.Builder, text string) {
	if out.Len() > 0 {
		if !strings.HasSuffix(out.String(), "\n") {
			out.WriteByte('\n')
		}
		if !strings.HasPrefix(text, "---") {
			out.WriteString("---\n")
		}
	}
	out.WriteString(text)
}

// writeRules writes them where workloads need them.
func (c *injectCommand) writeRules(s *command.Streams, rules manifest.Rules, workloads []string) error {
	of := strings.Join(workloads, ", ")
	switch {
	case len(workloads) == 0 && c.Rules == "":
		return nil
	case len(workloads) == 0:
		fmt.Fprintf(s.Err, "envoyshim: no rules are needed, Istio's annotations say it all; %s is not written\n", c.Rules)
		return nil
	case c.Rules == "":
		return fmt.Errorf("user %s of %s: Istio's annotations tell users apart only by a group of their own (runAsUser, runAsGroup); "+
			"add --rules FILE for iptables rules that do it", c.OnlyUID, of)
	case c.Diff:
		fmt.Fprintf(s.Err, "envoyshim: %s: rules are needed; without --diff they go to %s\n", of, c.Rules)
		return nil
	}
	for _, file := range []string{c.Rules, c.Rules + ".v6"} {
		if err := os.WriteFile(file, []byte(rules.String()), 0o644); err != nil {
			return err
		}
		rules.V6 = true
	}
	fmt.Fprintf(s.Err, "envoyshim: %s: apply %s in the pod's network namespace, after istio-init; the file says how\n", of, c.Rules)
	return nil
}
