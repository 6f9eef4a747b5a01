//go:build !release

package process

import "embed"

// agents is empty: see embedded_release.go.
var agents embed.FS
