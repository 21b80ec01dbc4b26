package manifest

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"text/template"

	"github.com/google/go-containerregistry/pkg/name"
	"k8s.io/apimachinery/pkg/util/validation"
)

// What a node agent is found by.
const (
	AgentName      = "envoyshim-node-agent" // the value of its label app.kubernetes.io/name, and its container's name
	AgentNamespace = "envoyshim-system"     // where it is unless the user says otherwise
)

// Agent is a node agent: a container that only has envoyshim in it, and may do on its node what `envoyshim catch` and `attach` need.
type Agent struct {
	Namespace string   // "" is AgentNamespace, which then is in the manifest, too
	Image     string   // one with envoyshim on PATH
	Node      string   // one pod on this node; "" a DaemonSet
	Selector  []string // of the DaemonSet's nodes, by their labels, KEY=VALUE
}

//go:embed agent.yaml
var agentYAML string

var agentTemplate = template.Must(template.New("agent").Parse(agentYAML))

// Manifest is the YAML. Every privilege in it has its reason beside it.
func (a Agent) Manifest() (string, error) {
	if err := a.check(); err != nil {
		return "", err
	}
	values := struct {
		Agent
		Name   string
		Own    bool // the namespace comes and goes with the agent
		Labels [][2]string
		Pod    string
	}{Agent: a, Name: AgentName, Own: a.Namespace == ""}
	if values.Own {
		values.Namespace = AgentNamespace
	}
	for _, label := range a.Selector {
		key, value, _ := strings.Cut(label, "=")
		values.Labels = append(values.Labels, [2]string{key, value})
	}
	part := func(name string) (string, error) {
		var text strings.Builder
		err := agentTemplate.ExecuteTemplate(&text, name, values)
		return text.String(), err
	}
	pod, err := part("pod")
	if err != nil {
		return "", err
	}
	form, indent := "one", "  "
	if a.Node == "" {
		form, indent = "each", "      "
	}
	values.Pod = strings.ReplaceAll(strings.TrimRight(pod, "\n"), "\n", "\n"+indent)
	return part(form)
}

// check looks at what would otherwise be found by the API server only, or be another YAML.
func (a Agent) check() error {
	if a.Image == "" {
		return errors.New("no image for the node agent: name one that has envoyshim by --image, as `kubectl envoyshim image build` makes them")
	}
	if _, err := name.ParseReference(a.Image); err != nil {
		return fmt.Errorf("--image: %w", err)
	}
	if a.Namespace != "" {
		if wrong := validation.IsDNS1123Label(a.Namespace); wrong != nil {
			return fmt.Errorf("--namespace %q: %s", a.Namespace, wrong[0])
		}
	}
	if a.Node != "" {
		if wrong := validation.IsDNS1123Subdomain(a.Node); wrong != nil {
			return fmt.Errorf("--node %q: %s", a.Node, wrong[0])
		}
	}
	for _, label := range a.Selector {
		key, value, ok := strings.Cut(label, "=")
		if !ok {
			return fmt.Errorf("--node-selector %q: give KEY=VALUE", label)
		}
		if wrong := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...); len(wrong) > 0 {
			return fmt.Errorf("--node-selector %q: %s", label, wrong[0])
		}
	}
	return nil
}
