//go:build !linux

package docker

// processLimit is the hard limit of processes where the engine is, as far as
// that can be told from here: not at all.
func processLimit() int64 { return 0 }
