package kube

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // credentials by OpenID Connect
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/klog/v2"
)

// requestTime bounds a request that is no stream.
const requestTime = 30 * time.Second

// pageSize is how many objects one request lists.
const pageSize = 500

// Flags choose the cluster. They are kubectl's.
type Flags struct {
	Namespace  string `name:"namespace" short:"n" placeholder:"NS" help:"The namespace; else that of the context."`
	Context    string `name:"context" placeholder:"NAME" help:"The context of the kubeconfig; else the current one."`
	Kubeconfig string `name:"kubeconfig" complete:"file" placeholder:"FILE" help:"The kubeconfig; else KUBECONFIG, ~/.kube/config, or the pod's own service account."`
	As         string `name:"as" placeholder:"USER" help:"The user to impersonate."`
}

// Cluster is an API server with the credentials for it.
type Cluster struct {
	Namespace string // where names are looked for

	config *rest.Config
	client *rest.RESTClient
	flags  Flags
}

// scheme knows pods only. The typed clients of client-go know all that Kubernetes has, which makes a program twice as large and as slow
// to start.
var (
	scheme     = runtime.NewScheme()
	parameters = runtime.NewParameterCodec(scheme)
)

func init() {
	_ = corev1.AddToScheme(scheme)
	klog.SetLogger(logr.Discard()) // what the user has to know comes as an error
}

// Connect reads the configuration as kubectl does. It asks the API server nothing.
func (f Flags) Connect() (*Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.Kubeconfig
	var missing clientcmd.MissingConfigError // what KUBECONFIG names, when none of it is there
	rules.Warner = func(err error) { errors.As(err, &missing) }
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{
		CurrentContext: f.Context,
		Context:        api.Context{Namespace: f.Namespace},
		AuthInfo:       api.AuthInfo{Impersonate: f.As},
	})
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, explainConfig(err, missing.Missing)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, explainConfig(err, missing.Missing)
	}
	config.GroupVersion = &corev1.SchemeGroupVersion
	config.APIPath = "/api"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.UserAgent = "kubectl-envoyshim"
	config.WarningHandler = rest.NoWarnings{}
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, explainConfig(err, missing.Missing)
	}
	return &Cluster{Namespace: namespace, config: config, client: client, flags: f}, nil
}

// pod returns the pod of that name.
func (c *Cluster) pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	pod := &corev1.Pod{}
	if err := c.client.Get().Namespace(namespace).Resource("pods").Name(name).Do(ctx).Into(pod); err != nil {
		return nil, c.explain(err)
	}
	return pod, nil
}

// list returns the pods that options select, and the resource version to watch from; namespace "" means all.
func (c *Cluster) list(ctx context.Context, namespace string, options metav1.ListOptions) ([]corev1.Pod, string, error) {
	options.Limit = pageSize
	var pods []corev1.Pod
	for {
		page := &corev1.PodList{}
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, requestTime)
			defer cancel()
			return c.client.Get().Namespace(namespace).Resource("pods").VersionedParams(&options, parameters).Do(ctx).Into(page)
		}()
		if err != nil {
			return nil, "", c.explain(err)
		}
		pods = append(pods, page.Items...)
		if options.Continue = page.Continue; options.Continue == "" {
			return pods, page.ResourceVersion, nil
		}
	}
}
