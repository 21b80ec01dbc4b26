package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/observe/accesslog"
)

type accesslogCommand struct {
	Format     string   `name:"format" placeholder:"TEXT" xor:"format" help:"The format of the lines: a format string or a format dictionary as Envoy's configuration has it; else Envoy's and Istio's defaults and JSON are known."`
	FormatFile string   `name:"format-file" complete:"file" placeholder:"F" xor:"format" help:"A file with the format."`
	All        bool     `name:"all" help:"Tell of the requests that went well, too."`
	Flags      bool     `name:"flags" help:"Explain all of Envoy's response flags, and read nothing."`
	JSON       bool     `name:"json" help:"Print JSON Lines: each failed request (with --all each request), each line that could not be read, and a summary in the end."`
	Files      []string `arg:"" optional:"" name:"file" complete:"file" help:"Logs; else standard input, as from 'kubectl logs POD -c istio-proxy'."`
}

func (c *accesslogCommand) Run(s *command.Streams) error {
	switch {
	case c.Flags && c.JSON:
		return s.JSON(accesslog.Flags)
	case c.Flags:
		accesslog.PrintFlags(s.Out, accesslog.Flags)
		return nil
	}
	format := c.Format
	if c.FormatFile != "" {
		b, err := os.ReadFile(c.FormatFile)
		if err != nil {
			return err
		}
		format = string(b)
	}
	report := &accesslog.Report{All: c.All}
	lines := json.NewEncoder(s.Out)
	var broken error // of the output
	tell := func(event any) {
		if err := lines.Encode(event); err != nil && broken == nil {
			broken = err
		}
	}
	log, warnings, err := accesslog.New(format, func(e *accesslog.Entry) {
		if report.Add(e) && c.JSON {
			tell(requestEvent{"request", e})
		}
	}, func(p accesslog.Problem) {
		report.Problem(p)
		if c.JSON {
			tell(problemEvent{"unreadable", p})
		}
	})
	if err != nil {
		return command.Usage("--format: %w", err)
	}
	for _, warning := range warnings {
		fmt.Fprintln(s.Err, "envoyshim:", warning)
	}
	err = c.read(s, log)
	if err != nil && log.Requests+log.Others+log.Unreadable+log.Empty == 0 {
		return err
	}
	if c.JSON {
		tell(summaryEvent{"summary", report.Summary(log)})
	} else {
		report.Print(s.Out, log)
	}
	if err == nil && log.Requests == 0 {
		err = errors.New("no line is of an access log: is it switched on (Istio: meshConfig.accessLogFile: /dev/stdout), and of a format of its own (--format)?")
	}
	return errors.Join(err, broken)
}

type requestEvent struct {
	Event string `json:"event"`
	*accesslog.Entry
}

type problemEvent struct {
	Event string `json:"event"`
	accesslog.Problem
}

type summaryEvent struct {
	Event string `json:"event"`
	accesslog.Summary
}

// read reads all logs, until Ctrl-C: what has come by then is reported.
func (c *accesslogCommand) read(s *command.Streams, log *accesslog.Log) error {
	ctx, stop := interruptible()
	defer stop()
	if len(c.Files) == 0 {
		return log.Read("", until(ctx, s.In))
	}
	for _, name := range c.Files {
		in := io.Reader(s.In)
		if name != "-" {
			f, err := os.Open(name)
			if err != nil {
				return err
			}
			defer f.Close()
			in = f
		}
		if err := log.Read(name, until(ctx, in)); err != nil {
			return err
		}
	}
	return nil
}

// until is a reader that ends when ctx is done, also while nothing comes.
func until(ctx context.Context, in io.Reader) io.Reader {
	out, w := io.Pipe()
	go func() {
		_, err := io.Copy(w, in)
		_ = w.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { _ = w.Close() })
	return out
}
