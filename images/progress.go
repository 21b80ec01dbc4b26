package images

import v1 "github.com/google/go-containerregistry/pkg/v1"

// Progress is told how far the work is, in bytes. It is called by one goroutine at a time.
type Progress func(what string, complete, total int64)

func (p Progress) tell(what string, complete, total int64) {
	if p != nil {
		p(what, complete, total)
	}
}

// updates is for what reports to a channel, as go-containerregistry does; done is to be called after it.
func (p Progress) updates(what string) (updates chan v1.Update, done func()) {
	updates = make(chan v1.Update, 64)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case u, open := <-updates:
				if !open {
					return
				}
				if u.Error == nil {
					p.tell(what, u.Complete, u.Total)
				}
			case <-stop:
				return
			}
		}
	}()
	return updates, func() { close(stop); <-stopped }
}
