// Package diagnosis is what doctor says, in a container, of a node, and of a pod's spec.
package diagnosis

import "slices"

// Verdict is what doctor says of a layer.
type Verdict string

// The verdicts. Blocked means that a hold or a debugger fails here.
const (
	OK      Verdict = "ok"
	Warn    Verdict = "warn"
	Blocked Verdict = "blocked"
)

// Finding is one line of doctor.
type Finding struct {
	Verdict Verdict `json:"verdict"`
	Layer   string  `json:"layer"`
	Found   string  `json:"found"`
	Cure    string  `json:"cure,omitempty"`
}

// Blocks reports whether one of them is Blocked.
func Blocks(all []Finding) bool {
	return slices.ContainsFunc(all, func(f Finding) bool { return f.Verdict == Blocked })
}
