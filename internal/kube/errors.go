package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// explainConfig says what to do about a kubeconfig. missing are the files that KUBECONFIG names, when none is there.
func explainConfig(err error, missing []string) error {
	switch {
	case len(missing) > 0:
		return fmt.Errorf("no cluster is configured: KUBECONFIG names no file that is there (%s); set it, or name a file by --kubeconfig", strings.Join(missing, ", "))
	case clientcmd.IsEmptyConfig(err):
		return errors.New("no cluster is configured: set KUBECONFIG, or name a file by --kubeconfig")
	case clientcmd.IsContextNotFound(err), strings.HasPrefix(err.Error(), "context "):
		return fmt.Errorf("%w; `kubectl config get-contexts` lists them", err)
	}
	return fmt.Errorf("read the kubeconfig: %w", err)
}

// errUnreachable is wrapped by the errors of a network that may come back.
var errUnreachable = errors.New("reach the cluster")

// explain adds to an error of the API server what to do about it.
func (c *Cluster) explain(err error) error {
	err = refusedUpgrade(err)
	var transport *url.Error
	var network net.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return err
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the cluster at %s does not accept these credentials: %w; log in again, or choose another --context", c.config.Host, err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w; ask for a Role that allows it%s", err, c.forbidden(err))
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w in namespace %s; `kubectl get pods -n %[2]s` lists what there is, -n chooses another", err, c.Namespace)
	case errors.As(err, &transport):
		return fmt.Errorf("%w at %s: %w; is it up, and the right --context?", errUnreachable, c.config.Host, transport.Err)
	case errors.As(err, &network), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w at %s: %w; is it up, and the right --context?", errUnreachable, c.config.Host, err)
	}
	return err
}

// refusedUpgrade restores the reason of an API server that has refused a stream: client-go keeps its text only.
func refusedUpgrade(err error) error {
	if err == nil {
		return nil
	}
	_, text, ok := strings.Cut(err.Error(), "unable to upgrade connection: ")
	if !ok {
		return err
	}
	status := metav1.Status{Message: text}
	switch {
	case strings.Contains(text, "is forbidden: "):
		status.Reason = metav1.StatusReasonForbidden
	case strings.HasPrefix(text, "pods ") && strings.HasSuffix(text, "not found"):
		status.Reason = metav1.StatusReasonNotFound
	case text == "Unauthorized":
		status.Reason = metav1.StatusReasonUnauthorized
	default:
		return err
	}
	return &apierrors.StatusError{ErrStatus: status}
}

// isFinal says that another try would fail likewise.
func isFinal(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err) || errors.Is(err, ErrNoShim)
}

// forbidden names the other way in, where one of the two is closed.
func (c *Cluster) forbidden(err error) string {
	switch text := err.Error(); {
	case strings.Contains(text, "pods/exec"):
		return ", or attach by --via port-forward, which needs create on pods/portforward"
	case strings.Contains(text, "pods/portforward"):
		return ", or attach by --via exec, which needs create on pods/exec"
	}
	return ""
}
