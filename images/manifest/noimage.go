package manifest

import (
	"strings"
)

// Where the shim lies beside a stock image: a volume that an init container fills from an image that has envoyshim on PATH. The shim
// finds the real Envoy on PATH, too.
const (
	shimName = "envoyshim"
	shimDir  = "/envoyshim"
)

// withoutImage leaves the image and has its Envoy started through the shim.
func (i *injection) withoutImage(form form, c container) error {
	if i.options.ShimImage == "" {
		return nil
	}
	copier := mapping(
		"name", str(shimName),
		"image", str(i.options.ShimImage),
		"command", list(str("envoyshim"), str("install"), str(shimDir)),
		"securityContext", mapping(
			"allowPrivilegeEscalation", boolean(false),
			"capabilities", mapping("drop", list(str("ALL"))),
			"readOnlyRootFilesystem", boolean(true),
			"runAsGroup", integer(1337), "runAsNonRoot", boolean(true), "runAsUser", integer(1337),
			"seccompProfile", mapping("type", str("RuntimeDefault"))),
		"volumeMounts", list(mapping("name", str(shimName), "mountPath", str(shimDir))))
	if err := i.set(path{"spec", "initContainers", "[" + shimName + "]"}, copier); err != nil {
		return err
	}
	if err := i.set(path{"spec", "volumes", "[" + shimName + "]"}, mapping("name", str(shimName), "emptyDir", mapping())); err != nil {
		return err
	}
	mount := mapping("mountPath", str(shimDir), "readOnly", boolean(true))
	if form == sidecar {
		if err := i.set(path{"metadata", "annotations", userVolumeMountAnnotation, within, shimName}, mount); err != nil {
			return err
		}
	} else if err := i.set(i.in(c, "volumeMounts", "["+shimName+"]"), mount); err != nil {
		return err
	}
	binary := quotedStr(shimDir + "/envoy")
	switch {
	case form == plain:
		return i.command(c)
	case form == injected:
		return i.agentBinary(c)
	case !i.isGateway() && i.annotation(nativeSidecarAnnotation) != "false":
		// A native sidecar starts before all init containers of the author's, and would wait for a shim that is not there yet.
		i.warn("the sidecar becomes a classic one (%s: \"false\"): a native one would start before the shim is there", nativeSidecarAnnotation)
		if err := i.set(path{"metadata", "annotations", nativeSidecarAnnotation}, quotedStr("false")); err != nil {
			return err
		}
	}
	return i.set(i.config("binaryPath"), binary)
}

// agentBinary tells the pilot-agent of an injected container what to start.
func (i *injection) agentBinary(c container) error {
	at := i.in(c, "env", "[PROXY_CONFIG]")
	_, n, err := i.walk(at)
	switch {
	case err != nil:
		return err
	case n == nil:
		return i.setEnv(c, "PROXY_CONFIG", `{"binaryPath":"`+shimDir+`/envoy"}`)
	}
	return i.set(at.join("value", within, "binaryPath"), quotedStr(shimDir+"/envoy"))
}

// command has a plain Envoy started through the shim.
func (i *injection) command(c container) error {
	command, args := c.words("command"), c.words("args")
	binary := str(shimDir + "/envoy")
	switch {
	case len(command) > 0 && base(command[0]) == "envoy":
		return i.set(i.in(c, "command", "[@0]"), binary)
	case len(command) == 0 && len(args) > 0 && args[0] == "envoy":
		return i.set(i.in(c, "args", "[@0]"), binary)
	case len(command) == 0 && len(args) > 0 && strings.HasPrefix(args[0], "-"):
		return i.set(i.in(c, "command"), list(binary))
	}
	return i.refuse("the manifest does not say how container %s starts Envoy: write its command and args, or take an image (--image)", c.name())
}
