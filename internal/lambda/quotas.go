package lambda

// Quotas are the limits that AWS sets, per account and region where they
// count something. Zero members mean AWS's own.
type Quotas struct {
	ConcurrentExecutions   int64 // events in flight; 1,000
	UnreservedMinimum      int64 // what reservations must leave of that; 100
	CodeStorage            int64 // bytes of all archives; 75 GB
	ZippedCode             int64 // bytes of an archive in a request; 50 MB
	UnzippedCode           int64 // bytes of a function with its layers; 250 MB
	Environment            int64 // bytes of environment variables, as JSON; 4 KB
	Policy                 int64 // bytes of a resource policy; 20 KB
	Layers                 int   // of a function; 5
	Tags                   int   // of a resource; 50
	RequestBody            int64 // bytes of CreateFunction's body, which package api enforces; 70,167,211
	ProvisionedConcurrency int64 // 0 means ConcurrentExecutions less UnreservedMinimum
}

func (q Quotas) withDefaults() Quotas {
	set := func(p *int64, v int64) {
		if *p == 0 {
			*p = v
		}
	}
	set(&q.ConcurrentExecutions, 1000)
	set(&q.UnreservedMinimum, 100)
	set(&q.CodeStorage, 80_530_636_800)
	set(&q.ZippedCode, 52_428_800)
	set(&q.UnzippedCode, 262_144_000)
	set(&q.Environment, 4096)
	set(&q.Policy, 20_480)
	set(&q.RequestBody, 70_167_211)
	if q.Layers == 0 {
		q.Layers = 5
	}
	if q.Tags == 0 {
		q.Tags = 50
	}
	return q
}
