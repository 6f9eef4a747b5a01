// Package store keeps Hearth's records, functions and all that belongs to
// them, in SQLite (one server) or PostgreSQL (several), and owns all SQL.
//
// Records are plain structs, read and written by key within transactions:
//
//	err := s.Update(ctx, func(tx *store.Tx) error {
//		f, err := tx.Functions().Get(key)
//		if err != nil {
//			return err // store.ErrNotFound
//		}
//		f.Latest.Description = "new"
//		return tx.Functions().Put(f)
//	})
//
// What a transaction read and wrote is not changed by others before it ends,
// so "check, then write" is atomic on both databases. Once Update has returned nil, its
// writes survive kill -9 and loss of power.
package store
