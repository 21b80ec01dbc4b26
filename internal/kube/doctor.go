package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/envoyshim/envoyshim/internal/diagnosis"
)

// Doctor runs `envoyshim doctor` where something may be held, and adds what only the pod's spec tells.
func (c *Cluster) Doctor(ctx context.Context, f Found) (findings []diagnosis.Finding, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	var out bytes.Buffer
	var failed *Failed
	if err := c.run(ctx, &f.at, nil, &out, "doctor", "--json"); err != nil && !errors.As(err, &failed) {
		return nil, err
	}
	switch err := json.Unmarshal(out.Bytes(), &findings); {
	case err != nil && failed != nil:
		return nil, fmt.Errorf("%s: %w", f.at, failed)
	case err != nil:
		return nil, fmt.Errorf("%s: envoyshim doctor says what is no report: %w", f.at, err)
	}
	return append(findings, f.Limits()...), nil
}

// Stdio carries one client by in and out, until the debug port closes.
func (c *Cluster) Stdio(ctx context.Context, f Found, p Process, in io.Reader, out io.Writer) error {
	return c.run(ctx, &f.at, in, out, "stdio", fmt.Sprintf("--pid=%d", p.PID))
}
