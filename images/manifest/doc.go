// Package manifest edits Kubernetes manifests so that their pods come up with Envoy in the hands of envoyshim, and takes the
// edits back.
//
// A manifest belongs to its author: comments, quoting, indentation and line ends stay. So nothing is ever written from a parsed
// tree. An edit happens twice, once on the tree that go.yaml.in/yaml/v3 read and once on the text, as a splice at the position of
// a node; the text is then parsed again, and unless that gives the edited tree there is an error, and no manifest.
//
//	position.go   where a node begins and ends in the text
//	document.go   documents of a stream
//	edit.go       edits of the tree, at a path (path.go), with new nodes (node.go)
//	splice.go     the same edits as splices of the text; nested.go YAML inside a string of YAML
//	workload.go   where the pod template of each kind lies
//	istio.go      a pod that Istio will inject; container.go a container that is there; noimage.go the shim beside a stock image
//	record.go     what was done to a workload, kept in an annotation of it; remove.go undoes that
//	options.go    what is to be done; inject.go doing it; warn.go what the author should know
//	iptables.go   only one user's traffic through Envoy
//	agent.go      no edit: the manifest of the node agent, agent.yaml
package manifest
