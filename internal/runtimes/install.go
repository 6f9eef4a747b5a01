package runtimes

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
)

// installed has the folders that this process has written or found: a launch
// need not hash a bootstrap to know its folder.
var installed sync.Map // of string to string

// installing keeps one process from preparing the same folder twice at once;
// several processes may, and the first to finish wins.
var installing sync.Mutex

// install writes i's bootstrap to a folder of dir named after its content.
func install(ctx context.Context, dir string, i *Interpreter) (string, error) {
	key := dir + "\x00" + i.Language
	if i.lang.preparedFor != nil {
		key += "\x00" + i.lang.preparedFor(i)
	}
	if at, ok := installed.Load(key); ok {
		if _, err := os.Stat(at.(string)); err == nil {
			return at.(string), nil
		}
	}
	at, err := write(ctx, dir, i)
	if err == nil {
		installed.Store(key, at)
	}
	return at, err
}

func write(ctx context.Context, dir string, i *Interpreter) (string, error) {
	files := i.lang.files()
	sum := sha256.New()
	for _, f := range files {
		sum.Write([]byte(f.name + "\x00"))
		sum.Write(f.data)
		sum.Write([]byte{0})
	}
	if i.lang.preparedFor != nil {
		sum.Write([]byte(i.lang.preparedFor(i)))
	}
	at, err := filepath.Abs(filepath.Join(dir, i.Language+"-"+hex.EncodeToString(sum.Sum(nil))[:16]))
	if err != nil {
		return "", err
	}
	installing.Lock()
	defer installing.Unlock()
	if _, err := os.Stat(at); err != nil {
		if err := writeNew(ctx, at, files, i); err != nil {
			return "", err
		}
	}
	if i.lang.finish != nil {
		// Also of a folder that is there: whoever wrote it may have been interrupted.
		if err := i.lang.finish(ctx, i, at); err != nil {
			return "", err
		}
	}
	return at, nil
}

// writeNew writes the folder at, in one step.
func writeNew(ctx context.Context, at string, files []file, i *Interpreter) error {
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(at), ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	// Functions may run as other users.
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		name := filepath.Join(tmp, filepath.FromSlash(f.name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if f.exec {
			mode = 0o755
		}
		if err := os.WriteFile(name, f.data, mode); err != nil {
			return err
		}
	}
	if i.lang.prepare != nil {
		if err := i.lang.prepare(ctx, i, tmp); err != nil {
			return err
		}
	}
	if err := os.Rename(tmp, at); err != nil && !errors.Is(err, fs.ErrExist) {
		if _, there := os.Stat(at); there != nil {
			return err
		}
	}
	return nil
}

// writeFile replaces a file in one step.
func writeFile(name string, data []byte, mode fs.FileMode) error {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func (l Layout) has(path string) bool {
	if l.Has != nil {
		return l.Has(path)
	}
	_, err := os.Stat(path)
	return err == nil
}

// embedded returns the files of one folder of an embedded tree, its folders too.
func embedded(tree embed.FS, root string) []file {
	var files []file
	err := fs.WalkDir(tree, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if path.Ext(name) == ".pyc" {
			return nil // Left by someone who ran it in the source tree.
		}
		data, err := tree.ReadFile(name)
		files = append(files, file{name: name[len(root)+1:], data: data})
		return err
	})
	if err != nil {
		panic("runtimes: " + err.Error()) // The tree is part of this program.
	}
	return files
}
