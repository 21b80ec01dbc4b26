package perfdata

import (
	"errors"
	"io"

	"github.com/envoyshim/envoyshim/internal/observe/profile"
)

// Convert reads a file of perf record. One that is to be read at random is an [io.ReaderAt], else it is kept in memory; what perf writes into a
// pipe never is. Where the file is not what perf writes the error is a *[FormatError]; what came before that place is in the profile nevertheless,
// which is nil only when nothing could be read.
func Convert(in io.Reader, o Options) (*profile.Profile, error) {
	f, incomplete, err := open(in)
	if err != nil {
		return nil, err
	}
	b := newBuilder(f)
	f.queue.deliver = b.take
	errs := f.records()
	if errs == nil {
		errs = incomplete
	}
	p := b.finish()
	return p, errors.Join(errs, b.name(o))
}
