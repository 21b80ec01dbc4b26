// Package images makes debug images of proxy images: the real Envoy moves to where the shim looks for it, and the shim takes its place.
// It needs neither Docker nor root, and runs where the user works: Linux, macOS, Windows.
//
// [Prepare] reads a base and has the whole result ready, which [Result.Write] puts where it should be. An image is read as a container's
// file system is (overlay), by the headers of its layers only.
package images
