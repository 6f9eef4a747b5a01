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
		var out bytes.Buffer
		source := fmt.Sprintf("botocore %s, %s %s", version, svc.name, path.Base(path.Dir(f.Name)))
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		if _, err := d.Token(); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		if err := undocument(&out, d, json.Delim('{')); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		stripped := fmt.Sprintf(`{"source":%q,`, source) + out.String()[1:]
		out.Reset()
		if err := json.Indent(&out, []byte(stripped), "", " "); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		out.WriteByte('\n')
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

// undocument copies what follows the delimiter open, to its end, and leaves
// out documentation strings, but not members of that name. It keeps the order,
// which is that of AWS's errors.
func undocument(out *bytes.Buffer, d *json.Decoder, open json.Delim) error {
	out.WriteString(open.String())
	first := true
	for d.More() {
		var key json.Token
		if open == '{' {
			var err error
			if key, err = d.Token(); err != nil {
				return err
			}
		}
		value, err := d.Token()
		if err != nil {
			return err
		}
		if _, text := value.(string); text && (key == "documentation" || key == "documentationUrl" || key == "deprecatedMessage") {
			continue
		}
		if !first {
			out.WriteByte(',')
		}
		first = false
		if key != nil {
			if err := write(out, key); err != nil {
				return err
			}
			out.WriteByte(':')
		}
		if delim, ok := value.(json.Delim); ok {
			err = undocument(out, d, delim)
		} else {
			err = write(out, value)
		}
		if err != nil {
			return err
		}
	}
	end, err := d.Token()
	if err == nil {
		fmt.Fprint(out, end)
	}
	return err
}

func write(out *bytes.Buffer, value any) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	err := e.Encode(value)
	out.Truncate(out.Len() - 1) // Encode's newline
	return err
}
