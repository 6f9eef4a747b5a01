package runtimestest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hearth-run/hearth/internal/hearthtest"
)

const (
	javaClient = "2.10.1" // aws-lambda-java-runtime-interface-client
	javaEvents = "3.16.1" // aws-lambda-java-events
)

// javaLibraries fetches AWS's client with what it depends on, and the event classes.
func javaLibraries(t *testing.T) (client, events string) {
	mvn := hearthtest.Need(t, "java", "mvn")
	fetch := func(artifact, version string) string {
		dir := Cache(t, artifact+"-"+version)
		err := Fetch(dir, func(tmp string) error {
			pom := fmt.Sprintf(`<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>test</groupId><artifactId>test</artifactId><version>1</version><packaging>pom</packaging>
<dependencies><dependency><groupId>com.amazonaws</groupId><artifactId>%s</artifactId><version>%s</version></dependency></dependencies></project>`, artifact, version)
			if err := os.WriteFile(filepath.Join(tmp, "pom.xml"), []byte(pom), 0o644); err != nil {
				return err
			}
			return Do(tmp, nil, mvn, "-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies", "-DoutputDirectory="+tmp)
		})
		if err != nil {
			hearthtest.Skip(t, "java", err.Error())
		}
		return dir
	}
	return fetch("aws-lambda-java-runtime-interface-client", javaClient), fetch("aws-lambda-java-events", javaEvents)
}

// TestJava compares Hearth's Java runtime with AWS's.
func TestJava(t *testing.T) {
	if testing.Short() {
		t.Skip("starts some hundred virtual machines")
	}
	found := exact(t, "java", "java11", "java17", "java21", "java25")
	if !hearthtest.Required("java") {
		found = found[len(found)-1:] // the newest alone: each takes a minute or two
	}
	client, events := javaLibraries(t)
	javac := ""
	for _, i := range found {
		if path := filepath.Join(filepath.Dir(i.Path), "javac"); javac == "" && exec.Command(path, "-version").Run() == nil {
			javac = path
		}
	}
	if javac == "" {
		hearthtest.Skip(t, "java", "no javac beside the Java runtimes found")
	}
	classes := compileJava(t, javac, client, events)
	for _, i := range found {
		t.Run(i.Runtime, func(t *testing.T) {
			official := Client{Name: "aws-lambda-java-runtime-interface-client", Command: func(c Case, task string) ([]string, map[string]string) {
				args := []string{i.Path, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:MaxHeapSize=111411k", "-Djava.net.preferIPv4Stack=true",
					"--add-opens=java.base/java.io=ALL-UNNAMED", "-Xlog:disable", "-Xlog:all=error:stderr",
					"-cp", filepath.Join(client, "*"), "com.amazonaws.services.lambda.runtime.api.client.AWSLambda", c.Handler}
				if i.Runtime == "java25" {
					args = slices.Insert(args, 1, "--enable-native-access=ALL-UNNAMED") // or Java warns
				}
				return args, nil
			}}
			ours := hearth(t, i)
			// One at a time on this machine: AWS's client writes its library to one path in /tmp.
			reference := func(t *testing.T, c Case, task string, mode Mode) Record {
				lock, err := os.Create(filepath.Join(os.TempDir(), "hearth-test-java.lock"))
				if err != nil {
					t.Fatal(err)
				}
				defer lock.Close()
				if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
					t.Fatal(err)
				}
				return Run(t, official, c, task, mode)
			}
			for _, c := range javaCases {
				setup := c.Setup
				c.Setup = func(dir string) error {
					if err := os.CopyFS(dir, os.DirFS(classes)); err != nil {
						return err
					}
					if setup != nil {
						return setup(dir)
					}
					return nil
				}
				// AWS's client warns of the library of its own that it loads.
				c.Drop = strings.TrimPrefix(c.Drop+`|WARNING: .*(JniHelper|restricted method|Restricted methods|enable-native-access|sun.misc.Unsafe|UnsafeUtil|terminally deprecated).*\n`, "|")
				t.Run(c.Name, func(t *testing.T) {
					t.Parallel()
					task := Task(t, c)
					want := reference(t, c, task, Mode{})
					Compare(t, c, "standard output, HTTP", want, Run(t, ours, c, task, Mode{}))
					Compare(t, c, "standard output, framed", want, Run(t, ours, c, task, Mode{Framed: true}))
					if strings.Contains(c.Handler, "Logs") || strings.Contains(c.Handler, "Failures") {
						want := reference(t, c, task, Mode{Telemetry: true})
						Compare(t, c, "telemetry, framed", want, Run(t, ours, c, task, Mode{Framed: true, Telemetry: true}))
					}
				})
			}
		})
	}
}

// compileJava returns a task root with the cases' classes and their libraries.
func compileJava(t *testing.T, javac, client, events string) string {
	dir := t.TempDir()
	sources, err := filepath.Glob("testdata/java/cases/*.java")
	if err != nil || len(sources) == 0 {
		t.Fatalf("no sources: %v", err)
	}
	args := append([]string{javac, "--release", "8", "-nowarn", "-g:source,lines", "-cp", filepath.Join(client, "*") + ":" + filepath.Join(events, "*"), "-d", dir}, sources...)
	if err := Do(".", nil, args...); err != nil {
		t.Fatal(err)
	}
	resource, err := os.ReadFile("testdata/java/cases/resource.txt")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "cases", "resource.txt"), string(resource))
	// Copied, not linked: the loader takes the place of a class from its path.
	if err := os.CopyFS(filepath.Join(dir, "lib"), os.DirFS(events)); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(dir, "lib", "pom.xml"))
	return dir
}
