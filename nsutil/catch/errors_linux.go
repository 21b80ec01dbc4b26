package catch

import "errors"

// A method that cannot be used here says one of these, in one line with the cure: then another may do.
var (
	ErrNotPermitted = errors.New("not permitted")
	ErrNotSupported = errors.New("not supported by this kernel")
)

// ErrLost is what Next tells of a process that matched but is not held: somebody killed it or let it run before it could be told, or the catcher
// could not stop it. It counts, and the catching goes on.
var ErrLost = errors.New("a match was lost")

// A refusal is the whole line, and one of the errors above.
type refusal struct {
	text string
	is   error
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.is }
