package lambda

import (
	"context"

	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/store"
)

// Hearth keeps a function's DurableConfig and starts no durable executions, so
// that there is none: those asked for by name are not found.

func noExecution(name *string) *awsapi.Error {
	return notFound("Durable execution not found: %s", awsapi.Val(name))
}

func noCallback(id *string) *awsapi.Error {
	return notFound("Callback not found: %s", awsapi.Val(id))
}

func (s *Service) ListDurableExecutionsByFunction(ctx context.Context, in *api.ListDurableExecutionsByFunctionRequest) (*api.ListDurableExecutionsByFunctionResponse, error) {
	f, _, err := s.function(ctx, in.FunctionName, in.Qualifier, "ListDurableExecutionsByFunction")
	if err != nil {
		return nil, err
	}
	if err := s.view(ctx, func(tx *store.Tx) error {
		_, _, err := resolve(tx, f)
		return err
	}); err != nil {
		return nil, err
	}
	return &api.ListDurableExecutionsByFunctionResponse{DurableExecutions: []api.Execution{}}, nil
}

func (s *Service) GetDurableExecution(_ context.Context, in *api.GetDurableExecutionRequest) (*api.GetDurableExecutionResponse, error) {
	return nil, noExecution(in.DurableExecutionArn)
}

func (s *Service) GetDurableExecutionHistory(_ context.Context, in *api.GetDurableExecutionHistoryRequest) (*api.GetDurableExecutionHistoryResponse, error) {
	return nil, noExecution(in.DurableExecutionArn)
}

func (s *Service) GetDurableExecutionState(_ context.Context, in *api.GetDurableExecutionStateRequest) (*api.GetDurableExecutionStateResponse, error) {
	return nil, noExecution(in.DurableExecutionArn)
}

func (s *Service) CheckpointDurableExecution(_ context.Context, in *api.CheckpointDurableExecutionRequest) (*api.CheckpointDurableExecutionResponse, error) {
	return nil, noExecution(in.DurableExecutionArn)
}

func (s *Service) StopDurableExecution(_ context.Context, in *api.StopDurableExecutionRequest) (*api.StopDurableExecutionResponse, error) {
	return nil, noExecution(in.DurableExecutionArn)
}

func (s *Service) PauseDurableExecution(_ context.Context, in *api.PauseDurableExecutionRequest) (*api.PauseDurableExecutionResponse, error) {
	return nil, noExecution(in.DurableExecutionArn)
}

func (s *Service) ResumeDurableExecution(_ context.Context, in *api.ResumeDurableExecutionRequest) (*api.ResumeDurableExecutionResponse, error) {
	return nil, noExecution(in.DurableExecutionArn)
}

func (s *Service) DeleteDurableExecution(_ context.Context, in *api.DeleteDurableExecutionRequest) (*api.DeleteDurableExecutionResponse, error) {
	return nil, noExecution(in.DurableExecutionArn)
}

func (s *Service) SendDurableExecutionCallbackSuccess(_ context.Context, in *api.SendDurableExecutionCallbackSuccessRequest) (*api.SendDurableExecutionCallbackSuccessResponse, error) {
	return nil, noCallback(in.CallbackId)
}

func (s *Service) SendDurableExecutionCallbackFailure(_ context.Context, in *api.SendDurableExecutionCallbackFailureRequest) (*api.SendDurableExecutionCallbackFailureResponse, error) {
	return nil, noCallback(in.CallbackId)
}

func (s *Service) SendDurableExecutionCallbackHeartbeat(_ context.Context, in *api.SendDurableExecutionCallbackHeartbeatRequest) (*api.SendDurableExecutionCallbackHeartbeatResponse, error) {
	return nil, noCallback(in.CallbackId)
}
