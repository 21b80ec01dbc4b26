package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// Profile runs `envoyshim profile` in a container until it ends: the profile goes to out, what it says beside it to says. When ctx is done it is told to end,
// by the end of its input, and what it has until then is the profile.
func (c *Cluster) Profile(ctx context.Context, f Found, out, says io.Writer, args ...string) error {
	in, open := io.Pipe()
	defer open.Close()
	defer context.AfterFunc(ctx, func() { _ = open.Close() })()
	var said bytes.Buffer
	err := c.runHearing(context.WithoutCancel(ctx), &f.at, in, out, func() complaints { return &said }, append([]string{"profile", "--until-eof"}, args...)...)
	if failed := (*Failed)(nil); errors.As(err, &failed) {
		return fmt.Errorf("%s: %s", f.at, f.fromHere(failed.Error()))
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(says, &said)
	return err
}
