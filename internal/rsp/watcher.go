//go:build linux

package rsp

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A watcher is a goroutine that waits for input on a socket whenever it is armed. Arming costs one system call, and wakes
// nobody (epoll(7), EPOLLONESHOT).
type watcher struct {
	epoll, socket int
	end           int // an eventfd
	ended         chan struct{}
}

func newWatcher(socket int) (*watcher, error) {
	w := &watcher{socket: socket, ended: make(chan struct{})}
	var err error
	if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("create an epoll instance: %w", err)
	}
	if w.end, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		_ = unix.Close(w.epoll)
		return nil, fmt.Errorf("create an eventfd: %w", err)
	}
	err = w.control(unix.EPOLL_CTL_ADD, w.socket, unix.EPOLLONESHOT)
	if err == nil {
		err = w.control(unix.EPOLL_CTL_ADD, w.end, unix.EPOLLIN)
	}
	if err != nil {
		_, _ = unix.Close(w.epoll), unix.Close(w.end)
		return nil, err
	}
	return w, nil
}

func (w *watcher) control(op, fd int, events uint32) error {
	if err := unix.EpollCtl(w.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("watch a connection: %w", err)
	}
	return nil
}

func (w *watcher) arm() error {
	return w.control(unix.EPOLL_CTL_MOD, w.socket, unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLONESHOT)
}

// disarm: what arrives between the event and this call is the caller's to drop.
func (w *watcher) disarm() { _ = w.control(unix.EPOLL_CTL_MOD, w.socket, unix.EPOLLONESHOT) }

// run calls arrived for each event until close.
func (w *watcher) run(arrived func()) {
	defer close(w.ended)
	var events [2]unix.EpollEvent
	for {
		n, err := unix.EpollWait(w.epoll, events[:], -1)
		if err != nil && err != unix.EINTR {
			return
		}
		for _, e := range events[:max(n, 0)] {
			if e.Fd == int32(w.end) {
				return
			}
			arrived()
		}
	}
}

// close ends the goroutine.
func (w *watcher) close() error {
	if _, err := unix.Write(w.end, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		return err
	}
	<-w.ended
	return errors.Join(unix.Close(w.epoll), unix.Close(w.end))
}
