// An HTTP API function on aws-lambda-go.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

func handle(ctx context.Context, req events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
	lc, _ := lambdacontext.FromContext(ctx)
	log.Printf("%s %s", req.RequestContext.HTTP.Method, req.RawPath)
	body, err := json.Marshal(map[string]string{
		"message":  fmt.Sprintf("Hello, %s!", req.QueryStringParameters["name"]),
		"function": lambdacontext.FunctionName,
		"request":  lc.AwsRequestID,
	})
	if err != nil {
		return events.APIGatewayV2HTTPResponse{}, err
	}
	return events.APIGatewayV2HTTPResponse{StatusCode: 200, Headers: map[string]string{"content-type": "application/json"}, Body: string(body)}, nil
}

func main() { lambda.Start(handle) }
