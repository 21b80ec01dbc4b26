package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/pprof/profile"
)

// In a container as a pod's, of uid 1337, without capabilities, with a read-only root, as PID 1: by ptrace, since the default seccomp profile
// refuses perf_event_open, which the profile says; with CAP_PERFMON in the container by perf_event_open, though uid 1337 has none of it. The profile goes to whoever asks, by standard output.
func TestProfileInDocker(t *testing.T) {
	needDocker(t)
	image := fmt.Sprintf("envoyshim-test-profile:%d", os.Getpid())
	file := filepath.Join(t.TempDir(), "image.tar")
	tag, err := name.NewTag(image)
	must(t, err)
	must(t, tarball.WriteToFile(file, tag, makeImage(t, v1.Config{Entrypoint: []string{"/envoy"}}, makeLayer(t,
		entryOf{name: "envoy", from: cli(t)}, entryOf{name: "envoyshim", link: "envoy"}, entryOf{name: "real", from: fixture(t, "bin/test/burn-static")}))))
	loadImage(t, file, image)
	capability := "PERFMON"
	if out, _ := runAny(t, "docker", "run", "--rm", "--cap-add", capability, image); strings.Contains(out, "unknown capability") {
		capability = "SYS_ADMIN" // an old Docker, whose default profile goes by this one
	}
	for _, one := range []struct {
		name     string
		flags    []string
		comments []string
	}{
		{"restricted", nil, []string{"sampled by ptrace", "stood still for", "perf_event_open: ", "the seccomp filter of this container refuses it; add CAP_PERFMON"}},
		{"allowed by the default profile", []string{"--cap-add", capability}, []string{"sampled by perf_event_open", "the time in the kernel is missing", "no off-CPU time: "}},
		{"unconfined", []string{"--security-opt", "seccomp=unconfined"}, []string{"sampled by perf_event_open"}},
	} {
		t.Run(one.name, func(t *testing.T) {
			container := fmt.Sprintf("envoyshim-test-profile-%d-%d", os.Getpid(), freePort(t))
			argv := append([]string{"docker", "run", "--name", container, "--network", "none"}, restricted...)
			for _, e := range shimEnv("pause", "/real") {
				argv = append(argv, "-e", e)
			}
			p := start(t, nil, append(append(argv, one.flags...), image, "2500", "stay")...)
			t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", container).Run() })
			p.event("held")
			cmd := exec.Command("docker", "exec", container, "/envoyshim", "profile", "--pid", "1", "--duration", "10s", "-o", "-")
			var out, said bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &said
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v: %s", err, said.String())
			}
			t.Log(said.String())
			got, err := profile.Parse(&out)
			must(t, err)
			commented(t, got, one.comments...)
			contains(t, said.String(), one.comments...)
			spentIn, _ := spent(t, got, "cpu")
			for _, name := range []string{"static_init", "hot", "warm"} {
				if spentIn[name] == 0 {
					t.Errorf("no sample of %s: %v", name, spentIn)
				}
			}
			p.out.await(t, "sleeper") // it has run on, untouched
			truth(t, p.out.String())
		})
	}
}
