package execprobe

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"
)

// What is committed was made of these sources, by `go generate`, which writes the sums.
func TestGenerated(t *testing.T) {
	sums, err := os.ReadFile("generated.sha256")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(sums)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(content)); got != sum {
			t.Errorf("%s has changed: run `go generate` here (clang, llvm and libbpf-dev of Debian)", name)
		}
	}
}
