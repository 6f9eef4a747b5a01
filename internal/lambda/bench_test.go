package lambda_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hearth-run/hearth/internal/store"
	"github.com/hearth-run/hearth/internal/store/storetest"
)

// BenchmarkControlPlane measures what clients do most, through the wire layer, with few and with
// 10,000 functions there: no operation but lists may grow with them.
func BenchmarkControlPlane(b *testing.B) {
	for _, database := range []string{"sqlite", "postgres"} {
		for _, n := range []int{10, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", database, n), func(b *testing.B) {
				st := storetest.Open(b, storetest.Config(b, database))
				s := serverOn(b, st, nil)
				fill(b, s, n)
				var i, made atomic.Int64
				b.Run("GetFunction", func(b *testing.B) {
					for b.Loop() {
						s.send("GET", fmt.Sprintf("%s/fill%05d", functions, i.Add(7)%int64(n)), nil)
					}
				})
				b.Run("ListFunctions", func(b *testing.B) {
					for b.Loop() {
						s.send("GET", functions, nil)
					}
				})
				b.Run("CreateFunction", func(b *testing.B) {
					for b.Loop() {
						s.send("POST", functions, newFunction(made.Add(1)))
					}
					s.service.Settle()
				})
				b.Run("CreateFunctionParallel", func(b *testing.B) {
					b.SetParallelism(8)
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							s.send("POST", functions, newFunction(made.Add(1)))
						}
					})
					s.service.Settle()
				})
			})
		}
	}
}

// fill makes copies of a function, as many as n.
func fill(b *testing.B, s *server, n int) {
	s.create("fill00000")
	for i := 1; i < n; i += 1000 {
		err := s.store.Update(b.Context(), func(tx *store.Tx) error {
			f, err := tx.Functions().Get(store.Key{AccountID: account, Region: region, Name: "fill00000"})
			for j := i; err == nil && j < min(n, i+1000); j++ {
				f.Name = fmt.Sprintf("fill%05d", j)
				f.Latest.LogGroup = strings.Replace(f.Latest.LogGroup, "fill00000", f.Name, 1)
				err = tx.Functions().Insert(f)
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// newFunction returns a request for a function with code of its own.
func newFunction(i int64) object {
	name := fmt.Sprint("new", i)
	return function(name, "Code", object{"ZipFile": archive("# " + name)})
}
