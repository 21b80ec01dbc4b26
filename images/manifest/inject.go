package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Result is an edited manifest.
type Result struct {
	Text       string
	Workloads  []string // that were edited, KIND/NAME
	Warnings   []string // one line each
	RulesFor   []string // workloads of which Options.OnlyUID wants more than Istio's annotations can say: see [Rules]
	WholeTable bool     // one of them has no istio-init
	skipped    []string // the warnings about workloads that were left as they are
}

// ErrNothing is a manifest without a workload that could be edited.
var ErrNothing = errors.New("no workload here to inject: give a Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob or a List of them")

// Inject edits the workloads of a manifest; name is the file's, for messages. An earlier injection is taken back first. An error about
// the manifest is an [*Error]; a manifest without a workload is returned as it is, with [ErrNothing].
func Inject(name, text string, o Options) (Result, error) {
	if err := o.check(); err != nil {
		return Result{}, err
	}
	earlier := map[string]*record{}
	text, err := takeBack(name, text, func(id string, _ workload, r *record) { earlier[id] = r })
	if err != nil {
		return Result{}, err
	}
	var r Result
	found := false
	levels := map[string]string{}
	documents, err := parse(newSource(name, text))
	if err != nil {
		return Result{}, err
	}
	for _, d := range documents {
		securityLevel(d.Content[0], levels)
	}
	r.Text, err = rewrite(name, text, func(e *editor, w workload) error {
		found = true
		o := o
		if r := earlier[e.id(w)]; r != nil && o.Image == "" && o.ShimImage == "" {
			o.Image, o.ShimImage = r.Image, r.ShimImage
		}
		i := &injection{editor: e, workload: w, options: o, result: &r, level: levels[w.namespace()]}
		return i.run()
	})
	switch {
	case err != nil:
		return Result{}, err
	case !found:
		return r, ErrNothing
	case len(r.Workloads) == 0 && len(r.skipped) > 0:
		return Result{}, fmt.Errorf("%s: %s", name, strings.Join(r.skipped, "; "))
	}
	// What could not be taken back is not done.
	if back, err := Remove(name, r.Text); err != nil || back.Text != text {
		return Result{}, &Error{File: name, Err: errUnlike}
	}
	return r, nil
}

// Remove takes injections back. A manifest without any is returned as it is.
func Remove(name, text string) (Result, error) {
	var r Result
	var err error
	r.Text, err = takeBack(name, text, func(_ string, w workload, _ *record) { r.Workloads = append(r.Workloads, w.String()) })
	return r, err
}

// takeBack undoes all that records say, and tells of each record. A spelling of several lines fits only the indentation that it was taken
// from; where that has changed it is put back in one line.
func takeBack(name, text string, tell func(id string, w workload, r *record)) (string, error) {
	try := func(oneLine bool) (string, error) {
		return rewrite(name, text, func(e *editor, w workload) error {
			r, err := e.readRecord(w.node)
			if err != nil || r == nil {
				return err
			}
			if !oneLine {
				tell(e.id(w), w, r)
			}
			e.oneLine = oneLine
			return e.undo(w, r)
		})
	}
	back, err := try(false)
	if errors.Is(err, errUnlike) {
		if back, err := try(true); err == nil {
			return back, nil
		}
	}
	return back, err
}

// rewrite edits all workloads of a stream, and makes sure that nothing else has changed.
func rewrite(name, text string, edit func(*editor, workload) error) (string, error) {
	src := newSource(name, text)
	documents, err := parse(src)
	if err != nil {
		return "", err
	}
	var splices []splice
	editors := make([]*editor, len(documents))
	for i, d := range documents {
		e := newEditor(src, i+1, d.Content[0])
		editors[i] = e
		for _, w := range workloads(e.root) {
			e.base, e.log = w.node, &record{}
			if _, _, err := e.walk(w.template); err != nil {
				return "", e.located(err)
			}
			e.base = w.pod()
			if err := edit(e, w); err != nil {
				return "", e.located(err)
			}
		}
		more, err := e.splices()
		if err != nil {
			return "", e.located(err)
		}
		e.prune(e.root)
		splices = append(splices, more...)
	}
	if len(splices) == 0 {
		return text, nil
	}
	edited := apply(text, splices)
	again, err := parse(newSource(name, edited))
	if err != nil || len(again) != len(documents) || json.Valid([]byte(text)) && !json.Valid([]byte(edited)) {
		return "", &Error{File: name, Err: errUnlike}
	}
	for i, e := range editors {
		if !same(e.root, again[i].Content[0]) {
			return "", &Error{File: name, Document: i + 1, Line: documents[i].Content[0].Line, Err: errUnlike}
		}
	}
	return edited, nil
}

// located says in which document an error is that only knows its line.
func (e *editor) located(err error) error {
	if at := (*Error)(nil); errors.As(err, &at) && at.Document == 0 {
		at.Document = e.number
	}
	return err
}

// id tells workloads of a stream apart.
func (e *editor) id(w workload) string { return fmt.Sprint(e.number, w.namespace(), w) }

// injection is the work on one workload.
type injection struct {
	*editor
	workload
	options Options
	result  *Result
	level   string // of PodSecurity in its namespace
}

func (i *injection) warn(format string, args ...any) {
	i.result.Warnings = append(i.result.Warnings, fmt.Sprintf("%s: %s", i.workload, fmt.Sprintf(format, args...)))
}

// skip leaves the workload as it is.
func (i *injection) skip(format string, args ...any) error {
	i.warn(format+"; left as it is", args...)
	i.result.skipped = append(i.result.skipped, i.result.Warnings[len(i.result.Warnings)-1])
	return nil
}

// refuse is an error about the workload.
func (i *injection) refuse(format string, args ...any) error {
	return i.fail(i.workload.pod(), "%s: %s", i.workload, fmt.Sprintf(format, args...))
}

func (i *injection) run() error {
	how, c := i.form(i.options.Container)
	switch {
	case how == none:
		return i.skip("there is no container %s", i.options.Container)
	case (how == sidecar || how == merged) && !i.injectionWanted():
		return i.skip("sidecar.istio.io/inject is false, so Istio injects nothing here")
	case (how == sidecar || how == merged) && text(i.spec("hostNetwork")) == "true":
		return i.skip("Istio injects nothing into a pod with hostNetwork")
	}
	if err := i.image(how, c); err != nil {
		return err
	}
	for _, step := range []func(form, container) error{i.withoutImage, i.environment, i.timeLimits, i.inboundPorts, i.onlyUID} {
		if err := step(how, c); err != nil {
			return err
		}
	}
	i.caution(how, c)
	if len(i.log.Added)+len(i.log.Was) == 0 {
		return nil // all is as it should be, by the author's own hand
	}
	i.result.Workloads = append(i.result.Workloads, i.workload.String())
	i.log.Image, i.log.ShimImage = i.options.Image, i.options.ShimImage
	return i.writeRecord(i.workload.node)
}

// image chooses the debug image.
func (i *injection) image(form form, c container) error {
	image := i.options.Image
	if image == "" {
		if i.options.ShimImage != "" {
			return nil
		}
		named := i.annotation(proxyImageAnnotation)
		if form == injected || form == plain || form == merged && c.image() != autoImage {
			named = c.image()
		}
		if i.options.Built != nil {
			image = i.options.Built(named)
		}
		switch {
		case image == "" && named == "":
			return i.refuse("which debug image? Name it (--image), or let the stock image stay (--no-image)")
		case image == "":
			i.warn("%s stays the image; it must be one with envoyshim in it (--image names another)", named)
			return nil
		}
		i.warn("the image is %s, which you have built (--image names another)", image)
		i.options.Image = image
	}
	byAnnotation := form == sidecar || form == merged && c.image() == autoImage
	if !byAnnotation {
		return i.set(i.in(c, "image"), str(image))
	}
	if !strings.Contains(image, "/") {
		return i.refuse("Istio ignores an image without a slash: write its registry or repository, as docker.io/%s", image)
	}
	return i.set(path{"metadata", "annotations", proxyImageAnnotation}, str(image))
}

// environment gives the shim its variables.
func (i *injection) environment(form form, c container) error {
	for _, env := range i.options.env() {
		var err error
		if form == sidecar {
			err = i.metadata(env[0], env[1])
		} else {
			err = i.setEnv(c, env[0], env[1])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (i *injection) setEnv(c container, name, value string) error {
	for _, env := range elements(find(c.node, "env")) {
		if env = resolve(env); text(find(env, "name")) == name && find(env, "valueFrom") != nil {
			return i.fail(env, "%s: %s comes from elsewhere (valueFrom); take it out", i.workload, name)
		}
	}
	at := i.in(c, "env", "["+name+"]")
	if slices.ContainsFunc(elements(find(c.node, "env")), func(n *yaml.Node) bool { return text(find(n, "name")) == name }) {
		return i.set(at.join("value"), str(value))
	}
	return i.set(at, mapping("name", str(name), "value", str(value)))
}
