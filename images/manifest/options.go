package manifest

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Options are what is to be done to the pods of a manifest.
type Options struct {
	Mode      string   // as ENVOYSHIM_MODE: off, or how Envoy is held; a list by name, too
	Image     string   // the debug image; "" keeps the one of an earlier injection, or the manifest's own
	ShimImage string   // instead of Image: the image stays, and the shim comes from this one (noimage.go)
	Listen    string   // as ENVOYSHIM_LISTEN; "" is the shim's own default
	Env       []string // further variables, NAME=VALUE
	Container string   // that runs Envoy, where neither its name nor its image says so
	OnlyUID   string   // only this user's outbound traffic passes Envoy

	// Built is the debug image that was made of another, or last of all when that is "", where neither Image nor an earlier injection
	// says which; "" when there is none.
	Built func(of string) string
}

// DefaultPort is the debug port where nothing else is said.
const DefaultPort = "2159"

// modes are the names that the shim takes. Its own list is Linux's; a test compares them.
var modes = []string{"off", "pause", "debug", "gdb", "lldb", "lldb-platform", "dlv", "trace", "profile"}

// Modes are the names that [Options].Mode takes.
func Modes() []string { return slices.Clone(modes) }

const prefix = "ENVOYSHIM_"

// reserved are the ports of Istio in a pod (istio.io, "Application Requirements", "Ports used by Istio").
var reserved = []string{"15000", "15001", "15004", "15006", "15008", "15010", "15012", "15014", "15017", "15020", "15021", "15053", "15090"}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// check looks at what needs no manifest.
func (o Options) check() error {
	if !isValue(o.Mode) {
		return fmt.Errorf("mode %q: allowed: one mode, or a list NAME=MODE,NAME=MODE", o.Mode)
	}
	for _, mode := range values(o.Mode) {
		if !slices.Contains(modes, mode) {
			return fmt.Errorf("mode %q: allowed: %s, or a list by name (envoy=debug,pilot-agent=dlv)", mode, strings.Join(modes, ", "))
		}
	}
	if o.Listen != "" {
		if !isValue(o.Listen) {
			return fmt.Errorf("--listen %q: give one address, or a list NAME=HOST:PORT,NAME=HOST:PORT", o.Listen)
		}
		for _, listen := range values(o.Listen) {
			if err := o.checkListen(listen); err != nil {
				return err
			}
		}
	}
	for _, env := range o.Env {
		key, value, ok := strings.Cut(env, "=")
		switch {
		case !ok || !envName.MatchString(key):
			return fmt.Errorf("--env %q: give NAME=VALUE", env)
		case slices.Contains([]string{prefix + "MODE", prefix + "LISTEN"}, key):
			return fmt.Errorf("--env %s: use --%s", key, strings.ToLower(strings.TrimPrefix(key, prefix)))
		case strings.ContainsAny(value, "\r\n"):
			return fmt.Errorf("--env %s: a line break would become a space on its way into the pod", key)
		case strings.HasPrefix(key, prefix):
			if err := o.checkVariable(key, value); err != nil {
				return err
			}
		}
	}
	if o.OnlyUID != "" {
		if uid, err := strconv.ParseUint(o.OnlyUID, 10, 31); err != nil || uid == 0 || o.OnlyUID == proxyUID {
			return fmt.Errorf("--only-uid %q: give the numeric user id of the application, neither 0 nor %s, which is Envoy's own", o.OnlyUID, proxyUID)
		}
	}
	for _, image := range []struct{ flag, reference string }{{"--image", o.Image}, {"--shim-image", o.ShimImage}} {
		if _, err := name.ParseReference(image.reference); image.reference != "" && err != nil {
			return fmt.Errorf("%s %q: no reference of an image; give one such as registry.example/istio/proxyv2:debug, in small letters", image.flag, image.reference)
		}
	}
	if o.Image != "" && o.ShimImage != "" {
		return fmt.Errorf("--image and --shim-image: only one of them, the second goes with --no-image")
	}
	return nil
}

func (o Options) checkListen(listen string) error {
	host, port, err := net.SplitHostPort(listen)
	number, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil {
		return fmt.Errorf("--listen %q: give HOST:PORT, as 127.0.0.1:%s", listen, DefaultPort)
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		return fmt.Errorf("--listen %q: give an IP address or localhost before the port", listen)
	}
	switch {
	case slices.Contains(reserved, strconv.FormatUint(number, 10)):
		return fmt.Errorf("--listen %q: Istio uses port %s in the pod; take another", listen, port)
	case isLoopback(host):
		return nil
	case o.value(prefix+"TLS_DIR") == "" && !o.says(prefix+"INSECURE"):
		return fmt.Errorf("--listen %q: a debug port has no authentication: listen on 127.0.0.1, or add --env ENVOYSHIM_TLS_DIR=DIR for mutual TLS, "+
			"or --env ENVOYSHIM_INSECURE=true to open it to everybody who reaches it", listen)
	case number == 0:
		return fmt.Errorf("--listen %q: beyond loopback the port must be known beforehand; name it", listen)
	}
	return nil
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// isValue reports one value, or a list of them by name.
func isValue(s string) bool {
	if !strings.Contains(s, "=") {
		return !strings.Contains(s, ",")
	}
	for item := range strings.SplitSeq(s, ",") {
		if name, _, ok := strings.Cut(item, "="); !ok || strings.TrimSpace(name) == "" {
			return false
		}
	}
	return true
}

// values are the values of "VALUE" or of "NAME=VALUE,NAME=VALUE".
func values(s string) []string {
	var all []string
	for item := range strings.SplitSeq(s, ",") {
		if _, value, ok := strings.Cut(item, "="); ok {
			item = value
		}
		all = append(all, strings.TrimSpace(item))
	}
	return all
}

// ports are those of the debug port; open are those of them that are reached from beyond the pod.
func (o Options) ports() (all, open []string) {
	listen := o.Listen
	if listen == "" {
		listen = "127.0.0.1:" + DefaultPort
	}
	for _, address := range values(listen) {
		host, port, _ := net.SplitHostPort(address)
		all = append(all, port)
		if !isLoopback(host) {
			open = append(open, port)
		}
	}
	return all, open
}

// OpenPorts are the debug ports that are reached from beyond the pod.
func (o Options) OpenPorts() []string {
	_, open := o.ports()
	return open
}

// isOff reports that nothing is ever held.
func (o Options) isOff() bool {
	return !slices.ContainsFunc(values(o.Mode), func(mode string) bool { return mode != "off" }) && !o.says(holdOnCrash)
}

// env are the variables that the shim is to find, in order. Off needs none, and leaves none.
func (o Options) env() [][2]string {
	var env [][2]string
	if o.Mode != "off" {
		env = append(env, [2]string{"ENVOYSHIM_MODE", o.Mode})
		if o.Listen != "" {
			env = append(env, [2]string{"ENVOYSHIM_LISTEN", o.Listen})
		}
		if names := names(o.Mode); names != "" && names != "envoy" && o.value(prefix+"TARGET") == "" {
			env = append(env, [2]string{"ENVOYSHIM_TARGET", names})
		}
	}
	for _, e := range o.Env {
		name, value, _ := strings.Cut(e, "=")
		env = append(env, [2]string{name, value})
	}
	return env
}

// names are those of a list by name.
func names(s string) string {
	var all []string
	for item := range strings.SplitSeq(s, ",") {
		if name, _, ok := strings.Cut(item, "="); ok {
			all = append(all, strings.TrimSpace(name))
		}
	}
	return strings.Join(all, ",")
}
