package runtimes

import (
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

var java = language{
	name:       "java",
	title:      "Java",
	runtimes:   []string{"java8.al2", "java11", "java17", "java21", "java25"},
	prefix:     "java",
	oldest:     version{8},
	depth:      1,
	newerFirst: true,
	locate: func(m machine) []candidate {
		var found []candidate
		if home := m.env("JAVA_HOME"); home != "" {
			found = append(found, candidate{path: filepath.Join(home, "bin", "java"), chosen: true})
		}
		found = append(found, m.onPath("java")...)
		return append(found, m.below(
			"~/.sdkman/candidates/java/[0-9]*/bin/java",
			"~/.jdks/*/bin/java",
			"~/.jenv/versions/*/bin/java",
			"~/.asdf/installs/java/*/bin/java",
			"~/.local/share/mise/installs/java/*/bin/java",
			"/usr/lib/jvm/*/bin/java",
			"/opt/java/*/bin/java",
			"/opt/jdk*/bin/java",
			"/Library/Java/JavaVirtualMachines/*/Contents/Home/bin/java",
			"~/Library/Java/JavaVirtualMachines/*/Contents/Home/bin/java",
			"/opt/homebrew/opt/openjdk*/bin/java",
			"/usr/local/opt/openjdk*/bin/java",
			"/home/linuxbrew/.linuxbrew/opt/openjdk*/bin/java",
		)...)
	},
	probe: []string{"-XshowSettings:properties", "-version"},
	parseProbe: func(_, output string) (facts, error) {
		property := func(name string) string {
			m := regexp.MustCompile(`(?m)^\s*` + regexp.QuoteMeta(name) + ` = (.*)$`).FindStringSubmatch(output)
			if m == nil {
				return ""
			}
			return strings.TrimSpace(m[1])
		}
		v, home := strings.TrimPrefix(property("java.version"), "1."), property("java.home")
		if parseVersion(v) == nil || home == "" {
			return facts{}, fmt.Errorf("no java.version or java.home in %q", output)
		}
		return facts{Version: v, Executable: filepath.Join(home, "bin", "java"), Home: home}, nil
	},
	install: func(v string) string {
		return "install a Java " + v + " runtime (sdk install java, or the system's package openjdk-" + v + "-jre-headless)"
	},
	files:       func() []file { return append(embedded(javaFiles, "java/lib"), file{name: "NOTICE", data: javaNotice}) },
	finish:      archiveJava,
	preparedFor: func(i *Interpreter) string { return i.Path + " " + i.Version },
	command:     javaCommand,
}

//go:embed java/lib
var javaFiles embed.FS

//go:embed java/NOTICE
var javaNotice []byte

// javaArchive is the archive of loaded classes in the bootstrap's folder. It
// halves the time of a start.
const javaArchive = "classes.jsa"

// archiveJava makes the archive. A virtual machine without that ability (before
// Java 13) or with no room for it starts functions slower, no more.
func archiveJava(ctx context.Context, i *Interpreter, dir string) error {
	if parseVersion(i.Version).less(version{13}) {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, javaArchive)); err == nil {
		return nil
	}
	tmp := filepath.Join(dir, fmt.Sprintf(".new-%d-%s", os.Getpid(), javaArchive))
	defer os.Remove(tmp)
	cmd := exec.CommandContext(ctx, i.Path, "-XX:+UseSerialGC", "-XX:ArchiveClassesAtExit="+tmp, "-Xlog:all=off",
		"-jar", filepath.Join(dir, "hearth.jar"), "warm")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); ctx.Err() != nil {
		return ctx.Err()
	} else if err != nil {
		return nil
	}
	return os.Rename(tmp, filepath.Join(dir, javaArchive))
}

// javaCommand starts Java as Lambda does: the serial collector, from Java 17 on
// the first compiler alone, a heap that leaves room for the rest of the function's
// memory. What JAVA_TOOL_OPTIONS decides itself is left to it, since options of
// the command line would win.
func javaCommand(i *Interpreter, l Layout) Command {
	own := l.Env["JAVA_TOOL_OPTIONS"]
	says := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(own, w) })
	}
	v := parseVersion(i.Version)
	args := []string{i.Path}
	if !says("-XX:+UseSerialGC", "-XX:+UseParallelGC", "-XX:+UseG1GC", "-XX:+UseZGC", "-XX:+UseShenandoahGC", "-XX:+UseConcMarkSweepGC", "-XX:+UseEpsilonGC") {
		args = append(args, "-XX:+UseSerialGC")
	}
	if !v.less(version{17}) && !says("TieredCompilation", "TieredStopAtLevel") {
		args = append(args, "-XX:+TieredCompilation", "-XX:TieredStopAtLevel=1")
	}
	if l.MemoryMB > 0 && !says("-Xmx", "MaxHeapSize", "MaxRAMPercentage", "MaxRAMFraction") {
		args = append(args, fmt.Sprintf("-XX:MaxHeapSize=%dk", l.MemoryMB*1024*85/100))
	}
	boot := l.Bootstrap
	if l.Installed != "" && v.less(version{19}) {
		boot = l.Installed // These take an archive only together with the paths that it was made with.
	}
	if archive := filepath.Join(boot, javaArchive); l.has(archive) && !says("SharedArchiveFile", "-Xshare", "AOTCache") {
		// One that doesn't fit any more is not worth a line in the function's log.
		args = append(args, "-XX:SharedArchiveFile="+archive, "-Xshare:auto", "-Xlog:cds=off", "-Xlog:cds+dynamic=off")
	}
	args = append(args, "-Djava.net.preferIPv4Stack=true", "-jar", filepath.Join(boot, "hearth.jar"))
	return Command{Args: args}
}
