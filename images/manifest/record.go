package manifest

import (
	"encoding/json"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// recordAnnotation is where a workload keeps what was done to it: on the workload's own metadata, so that a Deployment's pods do not
// have it. It goes through the API server with the manifest, which comments do not.
const recordAnnotation = "envoyshim.io/inject"

// record says what was added to a workload, and how values were spelled that were replaced. It is no copy of the manifest: whatever
// else was edited since stays.
type record struct {
	Image     string            `json:"image,omitempty"` // this and the next so that another mode needs no other word
	ShimImage string            `json:"shimImage,omitempty"`
	Port      string            `json:"port,omitempty"`  // in a list of ports that is not ours alone
	Added     []string          `json:"added,omitempty"` // paths in the pod template; with a slash at the end, what was made only to hold others
	Was       map[string]string `json:"was,omitempty"`   // paths, and the text there
	Made      []string          `json:"made,omitempty"`  // paths in the workload, of what was made only to hold this
	undo      bool
}

func (r *record) added(p path) { r.Added = append(r.Added, p.String()) }
func (r *record) made(p path)  { r.Added = append(r.Added, p.String()+"/") }

func (r *record) was(p path, text string) {
	if r.Was == nil {
		r.Was = map[string]string{}
	}
	if _, again := r.Was[p.String()]; !again {
		r.Was[p.String()] = text
	}
}

// holds reports whether the text of a string at a path was edited, not the string as a whole.
func (r *record) holds(p string) bool {
	return slices.ContainsFunc(r.Added, func(a string) bool { return strings.HasPrefix(a, p+"/"+within+"/") })
}

// readRecord returns a workload's record, or nil.
func (e *editor) readRecord(workload *yaml.Node) (*record, error) {
	n := find(workload, "metadata", "annotations", recordAnnotation)
	if n == nil {
		return nil, nil
	}
	r := &record{undo: true}
	if err := json.Unmarshal([]byte(text(n)), r); err != nil {
		return nil, e.fail(n, "the annotation %s is damaged (%w): take the manifest from where it was kept before", recordAnnotation, err)
	}
	if foreign, is := r.foreign(); is {
		return nil, e.fail(n, "the annotation %s names %q, which no injection writes: take the annotation out, it is not of our making", recordAnnotation, foreign)
	}
	return r, nil
}

// writeRecord leaves the record in the workload.
func (e *editor) writeRecord(workload *yaml.Node) error {
	r := e.log
	e.base, e.log = workload, &record{}
	n := str("")
	if err := e.set(recordPath, n); err != nil {
		return err
	}
	r.Made = slices.DeleteFunc(e.log.Added, func(p string) bool { return !strings.HasSuffix(p, "/") })
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	*n = *str(string(b))
	return nil
}

var recordPath = path{"metadata", "annotations", recordAnnotation}
