//go:build release

package process

import "embed"

// agents holds hearth-agent for each platform that containers run on, as
// agents/build.sh makes them before a release is built with -tags release.
//
//go:embed agents/*.gz
var agents embed.FS
