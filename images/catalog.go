package images

// Base describes a family of proxy images.
type Base struct {
	Image   string `json:"image"`
	Envoy   string `json:"envoy"`  // the real Envoy's path, "" without one
	Parent  string `json:"parent"` // what starts Envoy
	User    string `json:"user"`
	Shell   bool   `json:"shell"`
	Symbols string `json:"symbols"`
	Careful string `json:"careful,omitempty"`
}

const (
	stripped   = "no"
	byPilot    = "pilot-agent"
	itself     = "itself, PID 1"
	byScript   = "/docker-entrypoint.sh, PID 1"
	usualEnvoy = "/usr/local/bin/envoy"
	usualAgent = "/usr/local/bin/pilot-agent"
)

// Catalog lists the known bases, by what their Dockerfiles say: istio/istio pilot/docker/Dockerfile.proxyv2, envoyproxy/envoy
// distribution/docker/Dockerfile-envoy. What is not in it is built all the same: [Prepare] looks into the image.
func Catalog() []Base {
	return []Base{
		{Image: "istio/proxyv2:V", Envoy: usualEnvoy, Parent: byPilot, User: "1337, by the injected pod", Shell: true, Symbols: stripped,
			Careful: "istio-init runs the same image as root"},
		{Image: "istio/proxyv2:V-debug", Envoy: usualEnvoy, Parent: byPilot, User: "1337, by the injected pod", Shell: true, Symbols: stripped,
			Careful: "debug means Ubuntu with a shell, not symbols; istio-init runs the same image as root"},
		{Image: "istio/proxyv2:V-distroless", Envoy: usualEnvoy, Parent: byPilot, User: "1337, by the injected pod", Shell: false, Symbols: stripped,
			Careful: "gdbserver and lldb-server need --with, which brings their libraries"},
		{Image: "istio/proxyv2 as a gateway", Envoy: usualEnvoy, Parent: byPilot + " proxy router", User: "1337, by the chart", Shell: true, Symbols: stripped,
			Careful: "no istio-init; the deployment's own image field, or image: auto with the annotation proxyImage"},
		{Image: "envoyproxy/envoy:V", Envoy: usualEnvoy, Parent: byScript, User: "root; the script changes to envoy (101)", Shell: true, Symbols: stripped,
			Careful: "the script finds Envoy by PATH; under a pod's runAsUser it changes nothing"},
		{Image: "envoyproxy/envoy:debug-V", Envoy: usualEnvoy, Parent: byScript, User: "root; the script changes to envoy (101)", Shell: true,
			Symbols: "in Envoy, or in envoy.dwp beside it", Careful: "1 GB compressed; copy Envoy out of it for the client's side"},
		{Image: "envoyproxy/envoy:distroless-V", Envoy: usualEnvoy, Parent: itself, User: "nonroot (65532)", Shell: false, Symbols: stripped,
			Careful: "gdbserver and lldb-server need --with, which brings their libraries"},
		{Image: "envoyproxy/envoy:contrib-V", Envoy: usualEnvoy, Parent: byScript, User: "root; the script changes to envoy (101)", Shell: true, Symbols: stripped},
		{Image: "envoyproxy/envoy:contrib-debug-V", Envoy: usualEnvoy, Parent: byScript, User: "root; the script changes to envoy (101)", Shell: true,
			Symbols: "in Envoy, or in envoy.dwp beside it", Careful: "1 GB compressed; copy Envoy out of it for the client's side"},
		{Image: "envoyproxy/envoy:contrib-distroless-V", Envoy: usualEnvoy, Parent: itself, User: "nonroot (65532)", Shell: false, Symbols: stripped,
			Careful: "gdbserver and lldb-server need --with, which brings their libraries"},
		{Image: "envoyproxy/envoy:tools-V", Envoy: usualEnvoy, Parent: byScript, User: "root; the script changes to envoy (101)", Shell: true, Symbols: stripped,
			Careful: "older ones hold the configuration checkers only, and no Envoy"},
		{Image: "envoyproxy/envoy:google-vrp-V", Envoy: usualEnvoy, Parent: "supervisord, by launch_envoy.sh", User: "envoy, by supervisord", Shell: true, Symbols: stripped,
			Careful: "two Envoys at once: give each a port by ENVOYSHIM_LISTEN in the script, or debug one"},
	}
}
