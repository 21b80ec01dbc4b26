// Package procfs reads what /proc tells of one process.
package procfs
