package symbols

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// unfinished begins the names of directories in which files are made.
const unfinished = ".unfinished-"

// abandoned is the age at which an unfinished directory is taken for that of a run that was killed: an index of the largest Envoy takes minutes.
const abandoned = time.Hour

// place brings a copy of a file to its path in the directory of symbols, with its time of modification, by which lldb knows its cache: changed by
// adapt, or as it is. It is whole or not there. No hard link: strip(1) and linkers may change a build's file in place, and what was prepared with it.
func place(dir, from, to string, adapt func(path string) error) error {
	if err := sweep(dir); err != nil {
		return err
	}
	work, err := os.MkdirTemp(dir, unfinished)
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	made := filepath.Join(work, filepath.Base(to))
	if err := copyFile(from, made); err != nil {
		return err
	}
	if adapt != nil {
		if err := adapt(made); err != nil {
			return err
		}
		if err := keepTime(from, made); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.Rename(made, to)
}

// sweep removes what runs that were killed have left.
func sweep(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && strings.HasPrefix(e.Name(), unfinished) && time.Since(info.ModTime()) > abandoned {
			err = os.RemoveAll(filepath.Join(dir, e.Name()))
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// copyFile copies a file with its time. On Linux the kernel shares the blocks where the file system can (copy_file_range(2)).
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return keepTime(from, to)
}

func keepTime(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	return os.Chtimes(to, time.Time{}, info.ModTime())
}

// contentID stands in for a build-id.
func contentID(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return "sha256-" + hex.EncodeToString(sum.Sum(nil)[:20]), nil
}
