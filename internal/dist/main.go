// Command dist makes a release from what `make shims` has built: archives of both programs, a bill of materials for each (CycloneDX), and
// their checksums. The same commit and Go version give the same bytes.
//
//	go run ./internal/dist DIR
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// program is one of the two, for a platform.
type program struct {
	name, os, arch string
	file           string   // the executable
	carries        []string // executables inside it, of which the bill tells as well
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: dist DIR")
		os.Exit(2)
	}
	if err := dist(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		os.Exit(1)
	}
}

func dist(dir string) error {
	work, err := os.MkdirTemp("", "dist")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	date, err := commitTime()
	if err != nil {
		return err
	}
	programs, err := build(work)
	if err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, p := range programs {
		info, err := buildinfo.ReadFile(p.file)
		if err != nil {
			return err
		}
		base := fmt.Sprintf("%s_%s_%s_%s", p.name, info.Main.Version, p.os, p.arch)
		archive, ext, err := p.archive(date)
		if err != nil {
			return err
		}
		bill, err := p.bill(info)
		if err != nil {
			return err
		}
		for name, content := range map[string][]byte{base + ext: archive, base + ".cdx.json": bill} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
				return err
			}
		}
		fmt.Fprintf(&sums, "%x  %s\n%x  %s\n", sha256.Sum256(archive), base+ext, sha256.Sum256(bill), base+".cdx.json")
	}
	return os.WriteFile(filepath.Join(dir, "SHA256SUMS"), sums.Bytes(), 0o644)
}

// commitTime is that of the last commit, which all files in archives get.
func commitTime() (time.Time, error) {
	out, err := exec.Command("git", "log", "-1", "--format=%ct").Output()
	if err != nil {
		return time.Time{}, fmt.Errorf("ask git for the commit's time: %w", err)
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	return time.Unix(seconds, 0).UTC(), err
}

// build unpacks the programs of pods and builds those of the user's own machine, with the former inside.
func build(work string) ([]program, error) {
	var all []program
	var shims []string
	for _, arch := range []string{"amd64", "arm64"} {
		p := program{name: "envoyshim", os: "linux", arch: arch, file: filepath.Join(work, "envoyshim-"+arch)}
		if err := unpack("images/shim/envoyshim-"+arch+".gz", p.file); err != nil {
			return nil, errors.Join(err, errors.New("run make dist, which makes it"))
		}
		p.carries = []string{"bin/" + arch + "/carried"}
		shims = append(shims, p.file, p.carries[0])
		all = append(all, p)
	}
	for _, platform := range []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"} {
		goos, arch, _ := strings.Cut(platform, "/")
		p := program{name: "kubectl-envoyshim", os: goos, arch: arch, file: filepath.Join(work, "kubectl-"+goos+"-"+arch), carries: shims}
		cmd := exec.Command("go", "build", "-buildvcs=true", "-tags", "shims", "-trimpath", "-ldflags", "-s -w", "-o", p.file, "./cmd/kubectl-envoyshim")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+arch)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("build kubectl-envoyshim for %s: %w", platform, err)
		}
		all = append(all, p)
	}
	return all, nil
}

func unpack(compressed, file string) error {
	in, err := os.Open(compressed)
	if err != nil {
		return err
	}
	defer in.Close()
	r, err := gzip.NewReader(in)
	if err != nil {
		return fmt.Errorf("%s: %w", compressed, err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("%s: %w", compressed, err)
	}
	return os.WriteFile(file, content, 0o755)
}
