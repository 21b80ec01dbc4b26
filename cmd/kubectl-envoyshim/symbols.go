package main

import (
	"cmp"
	"fmt"

	"github.com/envoyshim/envoyshim/images/symbols"
	"github.com/envoyshim/envoyshim/internal/command"
)

type symbolsCommand struct {
	ELF      string `name:"elf" complete:"file" required:"" placeholder:"FILE" help:"Envoy, as the build made it or as it is in the image."`
	Out      string `name:"out" complete:"file" required:"" placeholder:"DIR" help:"Where to keep what is prepared, of any number of builds; the option --symbols of ide."`
	Debug    string `name:"debug" complete:"file" placeholder:"FILE" help:"Its separate debug file, or the unstripped ELF of the same build; else looked for where gdb does."`
	GDBIndex *bool  `name:"gdb-index" negatable:"" help:"Add .gdb_index; else where there is enough debug information."`
	JSON     bool   `name:"json" help:"Print JSON."`
}

func (c *symbolsCommand) Run(s *command.Streams) error {
	ctx, stop := interruptible()
	defer stop()
	report, err := symbols.Prepare(ctx, symbols.Options{
		ELF: c.ELF, Debug: c.Debug, Dir: c.Out, GDBIndex: c.GDBIndex,
		Progress: func(line string) { fmt.Fprintln(s.Err, line) },
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return s.JSON(report)
	}
	table := s.Table()
	row := func(what, is string) { fmt.Fprintf(table, "%s\t%s\n", what, is) }
	row("build-id", cmp.Or(report.BuildID, "none"))
	row("elf", report.ELF)
	if report.Debug != "" {
		row("debug information", report.Debug)
	}
	row("files", fmt.Sprintf("%s, %.1f MB", report.Files, float64(report.Size)/1e6))
	row(".gdb_index", report.GDBIndex)
	row("lldb index", report.LLDBIndex)
	for _, w := range report.Warnings {
		row("warning", w)
	}
	row("next", "kubectl envoyshim ide vscode --symbols "+c.Out)
	return table.Flush()
}
