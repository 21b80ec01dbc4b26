// Command injector injects the manifest on its standard input by Istio's own code and templates, as istiod and `istioctl
// kube-inject` do, and prints what becomes of it. Its arguments are settings of the installation, as `istioctl install --set` takes
// them (values.global.proxy.holdApplicationUntilProxyStarts=true); ENABLE_NATIVE_SIDECARS=true or false in the environment chooses the
// sidecar's form (istio.io, "pilot-discovery"). CHARTS names the manifests directory of Istio's module.
package main

import (
	"fmt"
	"os"

	"istio.io/istio/operator/pkg/render"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/kube/inject"
	"istio.io/istio/pkg/log"

	meshconfig "istio.io/api/mesh/v1alpha1"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(set []string) error {
	quiet := log.DefaultOptions()
	quiet.SetDefaultOutputLevel(log.OverrideScopeName, log.ErrorLevel)
	quiet.OutputPaths = []string{"stderr"}
	if err := log.Configure(quiet); err != nil {
		return err
	}
	templates, values, config, err := settings(set)
	if err != nil {
		return err
	}
	warn := func(s string) { fmt.Fprint(os.Stderr, s) }
	return inject.IntoResourceFile(nil, templates, values, "", config, os.Stdin, os.Stdout, warn)
}

// settings are what an installation puts into its two config maps.
func settings(set []string) (inject.Templates, inject.ValuesConfig, *meshconfig.MeshConfig, error) {
	var templates inject.Templates
	var values inject.ValuesConfig
	config := mesh.DefaultMeshConfig()
	set = append([]string{"installPackagePath=" + os.Getenv("CHARTS"), "profile=empty", "components.pilot.enabled=true"}, set...)
	manifests, _, err := render.GenerateManifest(nil, set, false, nil, nil)
	if err != nil {
		return nil, values, nil, err
	}
	for _, component := range manifests {
		for _, object := range component.Manifests {
			if object.GetKind() != "ConfigMap" {
				continue
			}
			data, _ := object.Object["data"].(map[string]any)
			text := func(key string) string { s, _ := data[key].(string); return s }
			switch object.GetName() {
			case "istio-sidecar-injector":
				c, err := inject.UnmarshalConfig([]byte(text("config")))
				if err != nil {
					return nil, values, nil, err
				}
				templates = c.Templates
				if values, err = inject.NewValuesConfig(text("values")); err != nil {
					return nil, values, nil, err
				}
			case "istio":
				if config, err = mesh.ApplyMeshConfig(text("mesh"), config); err != nil {
					return nil, values, nil, err
				}
			}
		}
	}
	if templates == nil {
		return nil, values, nil, fmt.Errorf("no injection templates in %q: set CHARTS to the manifests of Istio's module", os.Getenv("CHARTS"))
	}
	return templates, values, config, nil
}
