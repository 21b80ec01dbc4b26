// Package nsutil finds processes and tells their namespaces, from inside a
// container or from the node.
package nsutil
