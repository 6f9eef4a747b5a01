// Package backendtest tests implementations of backend.Backend, and brings one
// without processes.
//
// Run is the suite that every backend passes; each of its checks states the
// rule of the contract that it guards. Memory is an in-memory backend whose
// agents follow a script; pool and invoke are tested with it under simulated
// time.
package backendtest
