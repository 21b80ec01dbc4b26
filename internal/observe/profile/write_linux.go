package profile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/envoyshim/envoyshim/internal/carried"
)

// Name is that of the carried program when it writes a profile.
const Name = "envoyshim-pprof"

// Write writes the profile in pprof's format, compressed by gzip, by the carried program.
func (p *Profile) Write(w io.Writer) error {
	program, err := carried.Unpack(Name)
	if err != nil {
		return err
	}
	defer program.Close()
	in, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("write the profile: %w", err)
	}
	var says bytes.Buffer
	cmd := &exec.Cmd{Path: carried.Path(program), Args: []string{Name}, Stdin: bytes.NewReader(in), Stdout: w, Stderr: &says}
	if err := cmd.Run(); err != nil {
		if says.Len() > 0 {
			return errors.New(strings.TrimSpace(says.String()))
		}
		return fmt.Errorf("write the profile: %w", carried.Explain(err))
	}
	return nil
}
