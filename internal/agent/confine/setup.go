package confine

// Setup says what an environment looks like to its processes. Paths are the
// machine's and absolute.
type Setup struct {
	TaskRoot   string // to be seen at /var/task, read-only; "" for an empty folder
	Opt        string // to be seen at /opt, read-only; "" for an empty folder
	RuntimeDir string // to be seen at /var/runtime, read-only; "" for an empty folder
	Tmp        string // to be seen at /tmp: an existing folder
	// TmpSize, if not 0, makes /tmp a file system of so many bytes in memory,
	// instead of Tmp, where that is possible without counting against MemoryLimit.
	TmpSize int64
	// Keep lists files and folders, an interpreter's installation for instance,
	// that stay where they are although the new /tmp or /opt would hide them.
	Keep []string
	// MaxFiles bounds open files of each process. 0 leaves it.
	MaxFiles int
	// MemoryLimit and MaxProcesses bound the environment where that is possible.
	// In bytes and processes; 0 means no bound.
	MemoryLimit  int64
	MaxProcesses int
	// CPUs bounds CPU time, in processors, where control groups allow it. 0 means no bound.
	CPUs float64
}

// Layout says where an environment's processes find things.
type Layout struct {
	TaskRoot   string
	Opt        string
	RuntimeDir string
	Tmp        string
	// Isolated says that these are Lambda's paths, private to the environment,
	// and that nothing but Tmp can be written to.
	Isolated bool
	// MemoryLimited says that Setup.MemoryLimit is enforced.
	MemoryLimited bool
	// Notes say what the machine did not allow, in words for people.
	Notes []string
}

// plainLayout is that of an environment without namespaces.
func plainLayout(s *Setup) Layout {
	return Layout{TaskRoot: s.TaskRoot, Opt: s.Opt, RuntimeDir: s.RuntimeDir, Tmp: s.Tmp}
}
