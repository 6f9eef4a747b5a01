package main

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// strip takes the services' models from a botocore wheel and writes them, without documentation, to dir.
func strip(wheel, dir string) error {
	z, err := zip.OpenReader(wheel)
	if err != nil {
		return err
	}
	defer z.Close()
	version := strings.Split(filepath.Base(wheel), "-")[1]
	for _, svc := range services {
		// The newest API version of the service is the last by name.
		var found []*zip.File
		for _, f := range z.File {
			if ok, _ := path.Match("botocore/data/"+svc.name+"/*/service-2.json.gz", f.Name); ok {
				found = append(found, f)
			}
		}
		if len(found) == 0 {
			return fmt.Errorf("%s has no model of %s", wheel, svc.name)
		}
		sort.Slice(found, func(i, j int) bool { return found[i].Name < found[j].Name })
		f := found[len(found)-1]
		text, err := readGzip(f)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		var model map[string]any
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&model); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		undocument(model)
		model["source"] = fmt.Sprintf("botocore %s, %s %s", version, svc.name, path.Base(path.Dir(f.Name)))
		var out bytes.Buffer
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false)
		e.SetIndent("", " ")
		if err := e.Encode(model); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, svc.name+".json"), out.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func readGzip(f *zip.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	u, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(u)
}

// undocument removes documentation strings, but not members of that name.
func undocument(x any) {
	switch x := x.(type) {
	case map[string]any:
		for k, v := range x {
			if _, text := v.(string); text && (k == "documentation" || k == "documentationUrl" || k == "deprecatedMessage") {
				delete(x, k)
				continue
			}
			undocument(v)
		}
	case []any:
		for _, v := range x {
			undocument(v)
		}
	}
}
