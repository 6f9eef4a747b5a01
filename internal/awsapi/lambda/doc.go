// Package lambda is the wire of the AWS Lambda API: the structures of all its
// operations, their codecs, the checks of their constraints in AWS's words, its
// exceptions, and the table of its operations. All but patterns.go is
// generated from AWS's model; see ../gen.
//
// Scalars and structures are pointers, nil where absent. A nil list or map is
// absent, an empty one is present and empty; outputs keep that difference.
//
//	type service struct{ lambda.Unimplemented }
//
//	func (s *service) GetFunction(ctx context.Context, in *lambda.GetFunctionRequest) (*lambda.GetFunctionResponse, error) {
//		return nil, lambda.ResourceNotFoundException("Function not found: " + *in.FunctionName)
//	}
package lambda
