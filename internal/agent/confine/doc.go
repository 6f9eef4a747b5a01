// Package confine starts the processes of an execution environment and keeps
// hold of them: in namespaces and control groups where the machine allows, and
// in any case so that none is left when the environment ends.
//
// Start starts one supervisor process for each environment:
//
//	server ── socket ── supervisor ── runtime, extensions ── whatever they start
//
// The supervisor is the reaper of all of them, those that left their session
// too. When its socket closes, because the server asked or because the server
// is gone, it ends them all, removes what the environment has left, and ends
// itself.
//
// What the machine allows is found out by trying: namespaces as root, or as an
// ordinary user through a user namespace; control groups of version 2 or 1.
// Layout says what became of it. Without namespaces an environment's folders
// are used where they are, and its processes are found as descendants of the
// supervisor; without control groups memory is measured but not limited.
// Systems other than Linux have process groups alone.
package confine
