package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/kube"
)

// podForm is a command of envoyshim that is run in a pod. Its own flags are not known here, but those that name files: these are on this machine.
type podForm struct {
	podFlags
	pidFlag
	podArg
	Flags []string `arg:"" optional:"" name:"flag" passthrough:"" help:"Flags and arguments of the command, as envoyshim has it in the container."`
}

// local says which flags name files on this machine.
type local struct {
	output  string // of the flag for the file that is all the command's output, as --output or -o; "": there is none
	short   string
	page    string // of the one for a file that is written in place of the output: there it is -
	input   string // of the one for a file that is read: there it is standard input
	needPID bool   // the command must be told which process
}

// A line is what is run in the container.
type remoteLine struct {
	args   []string
	input  []byte
	output string // the file for its standard output; "" or - is this one's
	page   string // likewise, of what is written as a whole, or not at all
}

// run runs a command in the pod. The first Ctrl-C ends it there, and its last words still come; the second one ends this program.
func (f *podForm) run(s *command.Streams, verb string, files local) error {
	f.Flags = asTyped(f.Flags, os.Args)
	line, err := f.line(files, os.ReadFile)
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	context.AfterFunc(ctx, stop)
	cluster, found, err := f.look(ctx, f.Pod)
	if err != nil {
		return err
	}
	if files.needPID {
		p, err := found.Choose(f.PID)
		if err != nil {
			return err
		}
		f.PID = p.PID
	}
	if f.PID != 0 {
		line.args = append([]string{fmt.Sprintf("--pid=%d", f.PID)}, line.args...)
	}
	out := s.Out
	var page bytes.Buffer
	switch {
	case line.page != "":
		out = &page
	case line.output != "" && line.output != "-":
		file := &lateFile{path: line.output}
		defer file.Close()
		out = file
	}
	err = cluster.Command(ctx, found, line.input, out, s.Err, append([]string{verb}, line.args...)...)
	if failed := (*kube.Failed)(nil); errors.As(err, &failed) {
		s.Status = failed.Status // its words have come already
		return nil
	}
	if err == nil && line.page != "" {
		return writeOut(s, line.page, page.Bytes())
	}
	return err
}

// asTyped joins the first flag with its value again where they were typed as one word: kong takes them apart before it knows that the flag is not ours.
func asTyped(flags, typed []string) []string {
	if len(flags) > 1 && slices.Contains(typed, flags[0]+"="+flags[1]) {
		return append([]string{flags[0] + "=" + flags[1]}, flags[2:]...)
	}
	return flags
}

// line takes the flags apart that stand behind the pod: ours, those of files, and the rest, which is the container's.
func (f *podForm) line(files local, read func(string) ([]byte, error)) (remoteLine, error) {
	var l remoteLine
	flags := f.Flags
	ours := map[string]*string{
		"--namespace": &f.Namespace, "-n": &f.Namespace, "--context": &f.Context, "--kubeconfig": &f.Kubeconfig, "--as": &f.As, "--container": &f.Container, "-c": &f.Container,
	}
	for len(flags) > 0 {
		word := flags[0]
		flags = flags[1:]
		if word == "--" {
			l.args = append(append(l.args, word), flags...)
			break
		}
		name, value, joined := strings.Cut(word, "=")
		if !joined && len(word) > 2 && word[0] == '-' && word[1] != '-' && (word[:2] == files.short || ours[word[:2]] != nil) {
			name, value, joined = word[:2], word[2:], true // -oFILE
		}
		known := []string{files.output, files.short, files.page, files.input, "--pid"}
		if !strings.HasPrefix(word, "-") || ours[name] == nil && !slices.Contains(known, name) {
			l.args = append(l.args, word)
			continue
		}
		if !joined {
			if len(flags) == 0 {
				return l, command.Usage("%s needs a value", name)
			}
			value, flags = flags[0], flags[1:]
		}
		switch name {
		case files.output, files.short:
			l.output = value
		case files.page:
			l.page = value
			l.args = append(l.args, name+"=-")
		case files.input:
			content, err := read(value)
			if err != nil {
				return l, err
			}
			l.input = content
			l.args = append(l.args, name+"=/dev/stdin")
		case "--pid":
			pid, err := strconv.Atoi(value)
			if err != nil || pid < 1 {
				return l, command.Usage("--pid=%s: that is no process", value)
			}
			f.PID = pid
		default:
			*ours[name] = value
		}
	}
	return l, nil
}

// lateFile is made when something is written to it: a command that fails at once spoils no file.
type lateFile struct {
	path string
	file *os.File
}

var _ io.WriteCloser = (*lateFile)(nil)

func (l *lateFile) Write(p []byte) (n int, err error) {
	if l.file == nil {
		if l.file, err = os.Create(l.path); err != nil {
			return 0, err
		}
	}
	return l.file.Write(p)
}

func (l *lateFile) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}
