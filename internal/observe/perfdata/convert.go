package perfdata

import (
	"cmp"
	"io"

	"github.com/envoyshim/envoyshim/internal/observe/profile"
)

// Convert reads a file of perf record. One that is to be read at random is an [io.ReaderAt], else it is kept in memory; what perf writes into a
// pipe never is. Where the file is not what perf writes the error is a *[FormatError]; the samples before that place, of which the number is returned,
// are in the profile nevertheless, which is nil only when not even the header could be read.
func Convert(in io.Reader, o Options) (p *profile.Profile, samples int, err error) {
	f, incomplete, err := open(in)
	if err != nil {
		return nil, 0, err
	}
	b := newBuilder(f)
	f.queue.deliver = b.take
	err = cmp.Or(f.records(), incomplete)
	p = b.finish()
	return p, b.count, cmp.Or(err, b.name(o))
}
