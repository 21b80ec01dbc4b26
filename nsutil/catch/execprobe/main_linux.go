package execprobe

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/signal"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/carried"
	"github.com/envoyshim/envoyshim/nsutil/catch"
	"github.com/envoyshim/envoyshim/nsutil/catch/internal/wire"
)

// Name is what the process is started as.
const Name = wire.Name

// Main catches by the options that are the only argument, until the catcher has closed its end of the socket or is gone.
func Main(args []string, catcher *carried.Conn) error {
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM) // it lives as long as the catcher
	if len(args) != 1 {
		return fmt.Errorf("usage: %s OPTIONS", Name)
	}
	var options catch.Options
	if err := json.Unmarshal([]byte(args[0]), &options); err != nil {
		return fmt.Errorf("parse the options: %w", err)
	}
	filter, err := newFilter(options)
	if err != nil {
		return catcher.Send(wire.Report{Error: err.Error()})
	}
	p, err := open(filter)
	if err != nil {
		return catcher.Send(refusal(err))
	}
	defer p.close()
	if err := catcher.Send(wire.Report{}); err != nil {
		return err
	}
	go func() {
		var nothing struct{}
		_, _ = catcher.Receive(&nothing)
		p.stop()
	}()
	for told := uint64(0); filter.Count == 0 || told+p.missed() < filter.Count; told++ {
		e, err := p.next()
		if errors.Is(err, ringbuf.ErrFlushed) {
			break
		}
		if err != nil {
			return err
		}
		report := wire.Report{PID: int(e.Pid), Started: e.Started, At: e.At, Missed: e.Missed}
		if e.Error != 0 {
			report.Error = unix.Errno(-e.Error).Error()
		}
		if err := catcher.Send(report); err != nil {
			return nil // nobody is there
		}
	}
	_ = catcher.Send(wire.Report{Missed: p.missed(), End: true})
	return nil
}
