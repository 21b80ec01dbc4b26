package manifest

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// What the injector reads on a pod (istio.io, "Resource Annotations").
const (
	proxyImageAnnotation      = "sidecar.istio.io/proxyImage"
	configAnnotation          = "proxy.istio.io/config"
	overridesAnnotation       = "proxy.istio.io/overrides"
	nativeSidecarAnnotation   = "sidecar.istio.io/nativeSidecar"
	userVolumeMountAnnotation = "sidecar.istio.io/userVolumeMount"
	excludeInboundAnnotation  = "traffic.sidecar.istio.io/excludeInboundPorts"
)

const holdApplication = "holdApplicationUntilProxyStarts"

func (i *injection) config(steps ...string) path {
	return path{"metadata", "annotations", configAnnotation, within}.join(steps...)
}

// metadata makes a variable of istio-proxy, and of istio-init. The injector puts values between quotes as they are.
func (i *injection) metadata(name, value string) error {
	if strings.ContainsAny(value, `"\`) {
		return i.refuse(`the injector refuses " and \ in proxyMetadata: give %s another value`, name)
	}
	at := i.config("proxyMetadata")
	inside, metadata, err := i.walk(at)
	if err != nil {
		return err
	}
	if metadata != nil && metadata.Kind == yaml.MappingNode {
		for k := 0; k+1 < len(metadata.Content); k += 2 {
			if v := resolve(metadata.Content[k+1]); v.ShortTag() != "!!str" {
				return inside.fail(v, "the injector refuses proxyMetadata.%s, which is no string: write it in quotes", metadata.Content[k].Value)
			}
		}
	}
	return i.set(at.join(name), quotedStr(value))
}

// forever is a number of tries, a second apart: a day.
const forever = 86400

// startupProbe is the injector's own but for its patience. Written in full: what is left out gets the API's defaults, 3 tries 10 s apart.
func startupProbe() *yaml.Node {
	return mapping(
		"httpGet", mapping("path", str("/healthz/ready"), "port", integer(15021)),
		"failureThreshold", integer(forever), "periodSeconds", integer(1), "timeoutSeconds", integer(3))
}

const waitFlag = "--timeoutSeconds="

func waitForever() *yaml.Node { return str(waitFlag + strconv.Itoa(forever)) }

func postStart() *yaml.Node {
	return mapping("exec", mapping("command", list(str("pilot-agent"), str("wait"), waitForever())))
}

// timeLimits lifts those of the pod: istio-proxy's startupProbe kills it after 600 s, and the postStart hook that holds the application
// back gives up after 60.
func (i *injection) timeLimits(form form, c container) error {
	if i.options.isOff() {
		return nil
	}
	switch form {
	case sidecar:
		// The classic form reads the first list, the native one the second.
		for _, list := range []string{"containers", "initContainers"} {
			if err := i.lift(i.overrides(list, "startupProbe"), true); err != nil {
				return err
			}
		}
		return i.holdBack(i.overrides("containers", "lifecycle", "postStart"))
	case merged:
		if i.annotation(overridesAnnotation) != "" {
			return i.refuse("an istio-proxy container and %s do not go together: move the one into the other", overridesAnnotation)
		}
		if err := i.liftProbes(c, !i.isGateway()); err != nil || i.isGateway() {
			return err
		}
		return i.holdBack(i.in(c, "lifecycle", "postStart"))
	case injected:
		if err := i.liftProbes(c, false); err != nil {
			return err
		}
		return i.waitLonger(i.in(c, "lifecycle", "postStart"))
	}
	return i.liftProbes(c, false)
}

func (i *injection) overrides(list string, steps ...string) path {
	return path{"metadata", "annotations", overridesAnnotation, within, list, "[" + proxy + "]"}.join(steps...)
}

// holdBack cares for the application that waits for the proxy. Where its author wants that, it waits as long as Envoy is held. Where
// nothing is said the mesh may want it, and then the hook would kill the proxy after 60 s, for ever; so it is said that it need not wait.
func (i *injection) holdBack(hook path) error {
	if i.isGateway() || i.annotation(nativeSidecarAnnotation) == "true" {
		return nil // the native form always waits, by the startupProbe
	}
	_, hold, err := i.walk(i.config(holdApplication))
	if err != nil {
		return err
	}
	switch {
	case hold == nil:
		i.warn("as a classic sidecar (Kubernetes before 1.33) Envoy does not hold back the application, which starts without it; "+
			"write %s: true into %s to have it wait", holdApplication, configAnnotation)
		return i.set(i.config(holdApplication), boolean(false))
	case resolve(hold).Value != "true":
		return nil
	}
	if _, is, err := i.walk(hook); err != nil || is != nil {
		return i.waitLonger(hook)
	}
	return i.set(hook, postStart())
}

// inboundPorts keeps Envoy's redirection off a debug port that is reached from beyond the pod.
func (i *injection) inboundPorts(form form, c container) error {
	_, open := i.options.ports()
	if form == plain || len(open) == 0 || i.isGateway() || i.options.Mode == "off" {
		return nil
	}
	at := path{"metadata", "annotations", excludeInboundAnnotation}
	list := i.annotation(excludeInboundAnnotation)
	for port := range strings.SplitSeq(list, ",") {
		if _, err := strconv.ParseUint(strings.TrimSpace(port), 10, 16); list != "" && err != nil {
			return i.refuse("the injector refuses %s: %q: a list of ports is expected", excludeInboundAnnotation, list)
		}
	}
	if err := i.set(at, quotedStr(with(list, open))); err != nil {
		return err
	}
	i.log.Port = strings.Join(open, ",")
	setup, ok := i.workload.container("istio-init")
	if form != injected || !ok {
		return nil
	}
	args := setup.words("args")
	for n := range args[:max(len(args)-1, 0)] {
		if args[n] == "-d" {
			return i.set(i.in(setup, "args", "[@"+strconv.Itoa(n+1)+"]"), quotedStr(with(args[n+1], open)))
		}
	}
	return nil
}

// with adds items to a comma-separated list.
func with(list string, items []string) string {
	for _, item := range items {
		if without(list, item) == without(list, "") {
			list = strings.TrimPrefix(list+","+item, ",")
		}
	}
	return list
}
