package runtimes

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestJavaClassesAreCurrent guards that lib/hearth.jar was built from the sources beside it.
func TestJavaClassesAreCurrent(t *testing.T) {
	sources, err := filepath.Glob("java/src/run/hearth/runtime/*.java")
	if err != nil || len(sources) == 0 {
		t.Fatalf("no sources: %v", err)
	}
	slices.Sort(sources)
	sum := sha256.New()
	for _, name := range sources {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sum.Write(data)
	}
	want := hex.EncodeToString(sum.Sum(nil))
	built := jarFiles(t, "java/lib/hearth.jar")
	if got := strings.TrimSpace(string(built["META-INF/sources.sha256"])); got != want {
		t.Fatalf("java/lib/hearth.jar was built from sources %s, they are %s: run internal/runtimes/java/build.sh", got, want)
	}

	// With the very compiler that built it, the classes are the same, too.
	javac, err := exec.LookPath("javac")
	if err != nil {
		t.Log("no javac: the classes themselves are not compared")
		return
	}
	dir := t.TempDir()
	libraries, _ := filepath.Glob("java/lib/aws-*.jar")
	args := append([]string{"--release", "8", "-nowarn", "-g:source,lines", "-cp", strings.Join(libraries, ":"), "-d", dir}, sources...)
	if out, err := exec.Command(javac, args...).CombinedOutput(); err != nil {
		t.Fatalf("javac: %v: %s", err, out)
	}
	version, _ := exec.Command(javac, "-version").Output()
	same := strings.Contains(string(built["META-INF/MANIFEST.MF"]), "Created-By: "+strings.TrimPrefix(strings.TrimSpace(string(version)), "javac ")+" ")
	classes := 0
	for name, data := range built {
		if filepath.Ext(name) != ".class" {
			continue
		}
		classes++
		now, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Errorf("%s is in the jar and not among the compiled: %v", name, err)
		} else if same && !bytes.Equal(now, data) {
			t.Errorf("%s in the jar differs from what its source compiles to", name)
		}
		if v := data[6:8]; v[0] != 0 || v[1] != 52 {
			t.Errorf("%s is of class version %d, want 52, which Java 8 runs", name, v[1])
		}
	}
	if classes == 0 {
		t.Error("no classes in the jar")
	}
}

func jarFiles(t *testing.T, name string) map[string][]byte {
	z, err := zip.OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	files := map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if files[f.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	return files
}

func TestJavaCommand(t *testing.T) {
	has := func(string) bool { return true }
	for _, c := range []struct {
		version, options string
		memory           int
		want, not        []string
	}{
		{"17.0.1", "", 512, []string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:MaxHeapSize=445644k", "-XX:SharedArchiveFile=/b/classes.jsa"}, nil},
		{"11.0.1", "", 0, []string{"-XX:+UseSerialGC"}, []string{"TieredStopAtLevel", "MaxHeapSize"}},
		{"21.0.1", "-XX:+UseG1GC -Xmx64m", 512, []string{"-XX:TieredStopAtLevel=1"}, []string{"UseSerialGC", "MaxHeapSize"}},
		{"25.0.1", "-XX:TieredStopAtLevel=4 -XX:SharedArchiveFile=mine.jsa", 512, []string{"-XX:+UseSerialGC"}, []string{"TieredStopAtLevel", "SharedArchiveFile"}},
	} {
		i := &Interpreter{Runtime: "java", Language: "java", Path: "/java", Version: c.version, lang: &java}
		got := i.Command(Layout{Bootstrap: "/b", TaskRoot: "/t", Opt: "/opt", MemoryMB: c.memory, Env: map[string]string{"JAVA_TOOL_OPTIONS": c.options}, Has: has}).Args
		for _, w := range c.want {
			if !slices.Contains(got, w) {
				t.Errorf("Java %s with %q: %q, want %s", c.version, c.options, got, w)
			}
		}
		for _, n := range c.not {
			if strings.Contains(strings.Join(got, " "), n) {
				t.Errorf("Java %s with %q: %q, want no %s", c.version, c.options, got, n)
			}
		}
		if last := got[len(got)-2:]; last[0] != "-jar" || last[1] != "/b/hearth.jar" {
			t.Errorf("Java %s ends with %q, want -jar and the bootstrap", c.version, last)
		}
	}
}

// Java before 19 takes an archive only together with the paths it was made with.
func TestJavaArchiveKeepsItsPaths(t *testing.T) {
	for version, want := range map[string]string{"17.0.1": "/cache/java-1/", "21.0.1": "/var/runtime/"} {
		i := &Interpreter{Runtime: "java", Language: "java", Path: "/java", Version: version, lang: &java}
		got := i.Command(Layout{Bootstrap: "/var/runtime", Installed: "/cache/java-1", Has: func(string) bool { return true }}).Args
		if !slices.Contains(got, "-XX:SharedArchiveFile="+want+"classes.jsa") || got[len(got)-1] != want+"hearth.jar" {
			t.Errorf("Java %s: %q, want the archive and the classes in %s", version, got, want)
		}
	}
}

// A folder whose writer was interrupted gets its archive from the next one.
func TestJavaArchiveIsMadeLater(t *testing.T) {
	i, err := Find(t.Context(), "java25")
	if err != nil || parseVersion(i.Version).less(version{13}) {
		t.Skipf("no Java that makes archives: %v", err)
	}
	dir := t.TempDir()
	at, err := write(t.Context(), dir, i)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(at, javaArchive)); err != nil {
		t.Fatal(err)
	}
	if _, err := write(t.Context(), dir, i); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(at, javaArchive)); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(at, ".new-*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}
