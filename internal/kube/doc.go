// Package kube reaches envoyshim in the containers of a cluster's pods, from the user's own machine. It needs nothing in the pod but
// the shim, or a node agent beside it, and no kubectl here.
//
//	Cluster     cluster.go      the API server that the kubeconfig names
//	Target      target.go       what the user types, POD or deploy/NAME, and the pods it means
//	Container   container.go    which containers of a pod may hold something, and why one does not run
//	Exec        exec.go         a command in a container, or a stream for debuggers
//	Forward     forward.go      a port of a pod, by the port-forward API itself
//	Look        look.go         the processes that envoyshim has in a pod
//	Await       await.go        until one of them is held, attached, running or exited
//	Way         way.go          a debugger's way to a process: found anew for each client
//	Follow      follow.go       what becomes of the pod meanwhile
//	NodeWay     nodeway.go      the same by a node agent, agent.go, for a stock image; pods.go which pods there are, post.go what is said there
//	Metrics     metrics.go      what a pod exposes to Prometheus
//	Command     command.go      a command of envoyshim in a container, with its streams and its exit status
//	Limits      limits.go       what of a pod's spec ends a hold
//
// It builds on Linux, macOS and Windows.
package kube
