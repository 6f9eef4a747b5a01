package runtimes

import (
	"embed"
	"path/filepath"
	"strings"
)

var ruby = language{
	name:     "ruby",
	title:    "Ruby",
	runtimes: []string{"ruby3.2", "ruby3.3", "ruby3.4", "ruby4.0"},
	prefix:   "ruby",
	oldest:   version{3, 1},
	depth:    2,
	locate: func(m machine) []candidate {
		found := m.onPath("ruby", "ruby[3-9].[0-9]")
		return append(found, m.below(
			"~/.rbenv/versions/*/bin/ruby",
			"~/.rubies/*/bin/ruby",
			"~/.rvm/rubies/*/bin/ruby",
			"~/.asdf/installs/ruby/*/bin/ruby",
			"~/.local/share/mise/installs/ruby/*/bin/ruby",
			"/opt/rubies/*/bin/ruby",
			"/usr/local/bin/ruby",
			"/usr/bin/ruby",
			"/opt/homebrew/opt/ruby*/bin/ruby",
			"/usr/local/opt/ruby*/bin/ruby",
			"/home/linuxbrew/.linuxbrew/opt/ruby*/bin/ruby",
		)...)
	},
	probe: []string{"--disable=gems", "-rrbconfig", "-e", `puts RUBY_VERSION, RbConfig.ruby, RbConfig::CONFIG["prefix"]`},
	install: func(v string) string {
		return "install Ruby " + v + " (rbenv install " + v + ", or the system's package ruby)"
	},
	files:   func() []file { return embedded(rubyFiles, "ruby") },
	command: rubyCommand,
}

//go:embed ruby
var rubyFiles embed.FS

// rubyCommand starts Ruby with the folders of gems and libraries that Lambda has.
func rubyCommand(i *Interpreter, l Layout) Command {
	// Gems are kept by the version of Ruby's interface. Those made for the
	// function's own are found by a nearest interpreter, too: most are plain Ruby.
	abis := []string{parseVersion(i.Version).first(2).String() + ".0"}
	if own := strings.TrimPrefix(i.Runtime, "ruby") + ".0"; own != abis[0] {
		abis = append(abis, own)
	}
	var gems []string
	for _, abi := range abis {
		gems = append(gems, filepath.Join(l.TaskRoot, "vendor/bundle/ruby", abi), filepath.Join(l.Opt, "ruby/gems", abi))
	}
	return Command{
		Args: []string{i.Path, filepath.Join(l.Bootstrap, "bootstrap.rb")},
		Env: map[string]string{
			"GEM_PATH": strings.Join(gems, ":"),
			"RUBYLIB":  filepath.Join(l.Opt, "ruby/lib"),
		},
	}
}
