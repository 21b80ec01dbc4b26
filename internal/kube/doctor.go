package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Doctor runs `envoyshim doctor` where something may be held, and adds what only the pod's spec tells. ok means that nothing blocks.
func (c *Cluster) Doctor(ctx context.Context, f Found) (findings []Finding, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	var out bytes.Buffer
	var failed *Failed
	if err := c.run(ctx, &f.at, nil, &out, "doctor", "--json"); err != nil && !errors.As(err, &failed) {
		return nil, false, err
	}
	switch err := json.Unmarshal(out.Bytes(), &findings); {
	case err != nil && failed != nil:
		return nil, false, fmt.Errorf("%s: %w", f.at, failed)
	case err != nil:
		return nil, false, fmt.Errorf("%s: envoyshim doctor says what is no report: %w", f.at, err)
	}
	return append(findings, f.Limits()...), failed == nil, nil
}

// Stdio carries one client by in and out, until the debug port closes.
func (c *Cluster) Stdio(ctx context.Context, f Found, p Process, in io.Reader, out io.Writer) error {
	return c.run(ctx, &f.at, in, out, "stdio", fmt.Sprintf("--pid=%d", p.PID))
}
