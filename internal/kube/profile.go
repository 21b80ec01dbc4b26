package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// Profile runs `envoyshim profile` in a container until it ends or ctx is done: the profile goes to out, what it says beside it to says.
func (c *Cluster) Profile(ctx context.Context, f Found, out, says io.Writer, args ...string) error {
	var said bytes.Buffer
	err := c.runHearing(ctx, &f.at, nil, out, func() complaints { said.Reset(); return &said }, append([]string{"profile"}, args...)...)
	var failed *Failed
	switch {
	case errors.As(err, &failed):
		return fmt.Errorf("%s: %s", f.at, f.fromHere(failed.Error()))
	case err != nil:
		return err
	}
	_, err = io.Copy(says, &said)
	return err
}
