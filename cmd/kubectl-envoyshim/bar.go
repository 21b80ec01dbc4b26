package main

import (
	"fmt"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"

	"github.com/envoyshim/envoyshim/internal/command"
)

// bar shows progress on stderr: a bar on a terminal, else one line for each piece of work.
type bar struct {
	streams *command.Streams
	what    string
	shown   *progressbar.ProgressBar // nil where there is no terminal
}

func newBar(s *command.Streams) *bar { return &bar{streams: s} }

func (b *bar) tell(what string, complete, total int64) {
	if b.what != what {
		b.end()
		b.what = what
		if f, ok := b.streams.Err.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
			b.shown = progressbar.NewOptions64(total, progressbar.OptionSetWriter(f), progressbar.OptionSetDescription(what),
				progressbar.OptionShowBytes(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionFullWidth())
		} else {
			fmt.Fprintln(b.streams.Err, what)
		}
	}
	if b.shown != nil {
		b.shown.ChangeMax64(max(total, 1))
		_ = b.shown.Set64(complete)
	}
}

// end ends the bar that is shown.
func (b *bar) end() {
	if b.shown != nil {
		_ = b.shown.Finish()
		fmt.Fprintln(b.streams.Err)
		b.shown = nil
	}
	b.what = ""
}
