package runtimes

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
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
			found = append(found, candidate{path: filepath.Join(home, "bin", "java")})
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
	command: func(i *Interpreter, l Layout) Command {
		return Command{Args: []string{i.Path}}
	},
}
