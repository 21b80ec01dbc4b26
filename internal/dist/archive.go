package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"os"
	"time"
)

// kubectlComplete is what kubectl runs to complete the words of `kubectl envoyshim`.
const kubectlComplete = "#!/bin/sh\nexec kubectl-envoyshim __complete \"$@\"\n"

type file struct {
	name    string
	mode    int64
	content []byte
}

// archive is what a user downloads: a zip for Windows, else a compressed tar, and its extension.
func (p program) archive(date time.Time) ([]byte, string, error) {
	files := []file{{name: p.name, mode: 0o755}, {name: "LICENSE", mode: 0o644}, {name: "README.md", mode: 0o644}}
	for i, path := range []string{p.file, "LICENSE", "README.md"} {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, "", err
		}
		files[i].content = content
	}
	if p.os == "windows" {
		files[0].name += ".exe"
		content, err := zipped(files, date)
		return content, ".zip", err
	}
	if p.name == "kubectl-envoyshim" {
		files = append(files, file{"kubectl_complete-envoyshim", 0o755, []byte(kubectlComplete)})
	}
	content, err := tarred(files, date)
	return content, ".tar.gz", err
}

func tarred(files []file, date time.Time) ([]byte, error) {
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // the level is valid
	t := tar.NewWriter(z)
	for _, f := range files {
		if err := t.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), ModTime: date}); err != nil {
			return nil, err
		}
		if _, err := t.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), z.Close()
}

func zipped(files []file, date time.Time) ([]byte, error) {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, f := range files {
		w, err := z.CreateHeader(&zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: date})
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), z.Close()
}
