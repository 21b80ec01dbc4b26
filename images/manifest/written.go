package manifest

import (
	"maps"
	"slices"
	"strings"
)

// written are the paths in a pod template that injections write: a record that names others is not of our making. "*" is any key,
// "[*]" any element of a list.
var written = func() []path {
	config, overrides := pointer.Replace(configAnnotation)+"/#/", pointer.Replace(overridesAnnotation)+"/#/"
	var all []path
	add := func(parent string, children ...string) {
		for _, child := range children {
			all = append(all, parsePath(parent+child))
		}
	}
	add("metadata/annotations/", pointer.Replace(proxyImageAnnotation), pointer.Replace(nativeSidecarAnnotation),
		pointer.Replace(excludeInboundAnnotation), pointer.Replace(userVolumeMountAnnotation)+"/#/"+shimName,
		config+"proxyMetadata/*", config+holdApplication, config+"binaryPath")
	add("spec/", "initContainers/["+shimName+"]", "volumes/["+shimName+"]")
	times := []string{
		"startupProbe/failureThreshold", "livenessProbe/failureThreshold", "lifecycle/postStart/exec/command/[*]",
	}
	for _, list := range []string{"containers/", "initContainers/"} {
		add("metadata/annotations/"+overrides+list+"["+proxy+"]/", append(times, "startupProbe", "lifecycle/postStart")...)
		add("spec/"+list+"["+proxy+"]/", "startupProbe", "lifecycle/postStart")
		add("spec/"+list+"[*]/", append(times, "image", "env/[*]", "env/[*]/value", "env/[*]/value/#/binaryPath",
			"volumeMounts/["+shimName+"]", "command", "command/[@0]", "args/[*]")...)
	}
	return all
}()

// leads reports whether a path is the beginning of another, which may have wildcards.
func (p path) leads(to path) bool {
	if len(p) > len(to) {
		return false
	}
	for i, step := range p {
		_, isElement := element(step)
		if to[i] != step && (to[i] != "*" || isElement) && (to[i] != "[*]" || !isElement) {
			return false
		}
	}
	return true
}

// foreign returns a path of a record that no injection writes.
func (r *record) foreign() (string, bool) {
	writes := func(p path, whole func(p, to path) bool) bool {
		return slices.ContainsFunc(written, func(to path) bool { return p.leads(to) && whole(p, to) })
	}
	is := func(p, to path) bool { return len(p) == len(to) }
	holds := func(p, to path) bool { return len(p) < len(to) }
	text := func(p, to path) bool { return is(p, to) || to[len(p)] == within } // which is edited inside
	for _, added := range r.Added {
		made, ok := strings.CutSuffix(added, "/")
		if ok && !writes(parsePath(made), holds) || !ok && !writes(parsePath(added), is) {
			return added, true
		}
	}
	for _, was := range slices.Sorted(maps.Keys(r.Was)) {
		if !writes(parsePath(was), text) {
			return was, true
		}
	}
	for _, made := range r.Made {
		p := parsePath(strings.TrimSuffix(made, "/"))
		if !p.leads(recordPath) || !holds(p, recordPath) {
			return made, true
		}
	}
	return "", false
}
