package lambda

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"

	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/store"
)

// Kinds of tasks.
const (
	taskActivate  = "activate"  // a version: Pending ─▶ Active, InProgress ─▶ Successful
	taskMapping   = "mapping"   // an event source mapping: Creating, Enabling, Disabling, Updating, Deleting ─▶ …
	taskProvision = "provision" // provisioned concurrency: IN_PROGRESS ─▶ READY
	taskCapacity  = "capacity"  // a capacity provider: Pending, Deleting ─▶ …
)

// sweepEvery is how often the tasks that dead servers left are looked for.
const sweepEvery = 30 * time.Second

// begin does a task that is in the database, in the background. If the server
// is stopping, it is done after the next start.
func (s *Service) begin(k store.TaskKey) {
	t := &s.tasks
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	t.wg.Go(func() {
		select {
		case t.slots <- struct{}{}:
		case <-t.ctx.Done():
			return
		}
		defer func() { <-t.slots }()
		if err := s.do(t.ctx, k); err != nil && t.ctx.Err() == nil {
			s.log.Error("background task failed", "kind", k.Kind, "name", k.Name, "qualifier", k.Qualifier, "err", err)
		}
	})
}

// resume does all tasks that are in the database, now and then.
func (s *Service) resume() {
	for {
		var ts []store.Task
		err := s.cfg.Store.View(s.tasks.ctx, func(tx *store.Tx) (err error) {
			ts, err = tx.Tasks().List(store.Range[store.TaskKey]{})
			return err
		})
		if err != nil && s.tasks.ctx.Err() == nil {
			s.log.Error("background tasks not read", "err", err)
		}
		for _, t := range ts {
			s.begin(store.TaskKey{QualifiedKey: t.QualifiedKey, Kind: t.Kind})
		}
		select {
		case <-time.After(sweepEvery):
		case <-s.tasks.ctx.Done():
			return
		}
	}
}

// do does a task. It may be done by several servers at once: who finishes
// first removes it, and the others find it gone.
func (s *Service) do(ctx context.Context, k store.TaskKey) error {
	switch k.Kind {
	case taskActivate:
		return s.activate(ctx, k)
	case taskMapping:
		return s.settleMapping(ctx, k)
	case taskProvision:
		return s.settleProvisioned(ctx, k)
	case taskCapacity:
		return s.settleCapacity(ctx, k)
	}
	return fmt.Errorf("unknown kind of task %q", k.Kind)
}

// finish removes the task k, and says whether it is still to be done. read is
// what came of reading the task's record, which is locked before its task, as
// by those who change it.
func finish(tx *store.Tx, k store.TaskKey, read error) (bool, error) {
	if read != nil && !errors.Is(read, store.ErrNotFound) {
		return false, read
	}
	err := tx.Tasks().Delete(k)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil && read == nil, err
}

// activate makes a version ready, and says in its state how that went.
func (s *Service) activate(ctx context.Context, k store.TaskKey) error {
	var image string
	var failed error
	if s.cfg.Activator != nil {
		var fn *store.Function
		var v *store.Version
		if err := s.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
			fn, v, err = taskVersion(tx, k)
			return err
		}); errors.Is(err, store.ErrNotFound) {
			fn = nil
		} else if err != nil {
			return err
		}
		if fn != nil {
			if image, failed = s.cfg.Activator.Activate(ctx, fn, v); failed != nil && ctx.Err() != nil {
				return failed // stopped: to be done again
			}
		}
	}
	return s.cfg.Store.UpdateLazily(ctx, func(tx *store.Tx) error {
		// The record is locked before its task, as by those who change it.
		fn, v, err := taskVersion(tx, k)
		gone := errors.Is(err, store.ErrNotFound)
		if err != nil && !gone {
			return err
		}
		task, err := tx.Tasks().Get(k)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := tx.Tasks().Delete(k); err != nil || gone {
			return err
		}
		if v.RevisionID != task.Revision && v.State != api.StatePending && v.UpdateStatus != api.LastUpdateStatusInProgress {
			return nil
		}
		settle(v, image, failed)
		v.RevisionID = uuid.NewString()
		if v.Number == store.Latest {
			return tx.Functions().Put(fn)
		}
		number, err := strconv.ParseInt(v.Number, 10, 64)
		if err != nil {
			return err
		}
		return tx.Versions().Put(&store.Published{VersionKey: store.VersionKey{Key: fn.Key, Number: number}, FunctionID: fn.ID, Config: *v})
	})
}

// taskVersion reads the version that k is about. For $LATEST it is part of the function returned.
func taskVersion(tx *store.Tx, k store.TaskKey) (*store.Function, *store.Version, error) {
	fn, err := tx.Functions().Get(k.Key)
	if err != nil {
		return nil, nil, err
	}
	if k.Qualifier == store.Latest {
		return fn, &fn.Latest, nil
	}
	number, err := strconv.ParseInt(k.Qualifier, 10, 64)
	if err != nil {
		return nil, nil, store.ErrNotFound
	}
	p, err := tx.Versions().Get(store.VersionKey{Key: k.Key, Number: number})
	if err != nil {
		return nil, nil, err
	}
	return fn, &p.Config, nil
}

// onCapacityProvider is why versions with a capacity provider cannot be invoked.
const onCapacityProvider = "Hearth does not run functions on capacity providers: remove CapacityProviderConfig to run the function."

// settle notes how the activation of v went.
func settle(v *store.Version, image string, failed error) {
	created := v.State == api.StatePending
	if failed != nil {
		code := reasonCode(failed)
		if created {
			v.State, v.StateReason, v.StateReasonCode = api.StateFailed, failed.Error(), code
		} else {
			v.UpdateReason, v.UpdateReasonCode = failed.Error(), code
		}
		v.UpdateStatus = api.LastUpdateStatusFailed
		return
	}
	if image != "" {
		resolveImage(&v.Code, image)
	}
	v.State, v.StateReason, v.StateReasonCode = api.StateActive, "", ""
	if v.CapacityProvider != nil {
		v.State, v.StateReason = api.StateActiveNonInvocable, onCapacityProvider
	}
	v.UpdateStatus, v.UpdateReason, v.UpdateReasonCode = api.LastUpdateStatusSuccessful, "", ""
}

// reasonCode returns AWS's code for why a version could not be made ready.
func reasonCode(err error) string {
	switch {
	case errors.Is(err, backend.ErrImageNotFound):
		return api.StateReasonCodeInvalidImage
	case errors.Is(err, backend.ErrImagePull):
		return api.StateReasonCodeImageAccessDenied
	case errors.Is(err, backend.ErrUnsupportedRuntime):
		return api.StateReasonCodeInvalidRuntime
	case errors.Is(err, backend.ErrBadCode), errors.Is(err, backend.ErrNoCode):
		return api.StateReasonCodeInvalidZipFileException
	}
	return api.StateReasonCodeInternalError
}
