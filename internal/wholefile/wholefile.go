// Package wholefile writes files that are there as they were or as they are to be, whenever the program or the disk ends.
package wholefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Write replaces a file or makes it. One that is there keeps its permissions, and a symbolic link stays one; a new one gets perm. Another owner
// than this user, and further hard links, are not kept.
func Write(path string, content []byte, perm os.FileMode) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if info, err := os.Stat(path); err == nil {
		perm = info.Mode().Perm()
	}
	if err := write(path, content, perm); err != nil {
		var at *fs.PathError
		if link := (*os.LinkError)(nil); errors.As(err, &link) {
			err = link.Err
		} else if errors.As(err, &at) {
			err = at.Err
		}
		return &fs.PathError{Op: "write", Path: path, Err: err} // the temporary file is nobody's business
	}
	return nil
}

func write(path string, content []byte, perm os.FileMode) error {
	made, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(made.Name()) // unless it has been renamed
	_, err = made.Write(content)
	if err = errors.Join(err, made.Close()); err != nil {
		return err
	}
	if err := os.Chmod(made.Name(), perm); err != nil {
		return err
	}
	return os.Rename(made.Name(), path)
}
