package runtimes

import "path/filepath"

var ruby = language{
	name:     "ruby",
	title:    "Ruby",
	runtimes: []string{"ruby3.2", "ruby3.3", "ruby3.4", "ruby4.0"},
	prefix:   "ruby",
	oldest:   version{3, 2},
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
	command: func(i *Interpreter, l Layout) Command {
		return Command{Args: []string{i.Path, filepath.Join(l.Bootstrap, "bootstrap.rb")}}
	},
}
