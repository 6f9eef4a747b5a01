// Package awsclient reaches other AWS services, or what stands in for them:
// at the endpoints that the SDKs' own variables name (AWS_ENDPOINT_URL,
// AWS_ENDPOINT_URL_S3 …), with the credentials that the SDKs would use.
package awsclient

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/hearth-run/hearth/internal/arn"
)

// ErrNotFound means that a service was asked for something which is not there.
var ErrNotFound = errors.New("no such resource")

// Error is a service's refusal, in its own words.
type Error struct {
	Service string
	Code    string // "NoSuchKey"
	Message string
}

func (e *Error) Error() string { return e.Service + ": " + e.Code + ": " + e.Message }

// Config says how a Client works.
type Config struct {
	// Getenv reads the variables that name endpoints. Nil means os.Getenv.
	Getenv func(string) string
	// HTTP sends requests other than S3's. Nil means one with a timeout of 5 seconds.
	HTTP *http.Client
}

// Client reaches other services. It looks for credentials when they are first needed; its
// methods may be called concurrently.
type Client struct {
	cfg  Config
	load func() (aws.Config, error)
}

// New returns a Client that has looked at nothing yet.
func New(cfg Config) *Client {
	if cfg.Getenv == nil {
		cfg.Getenv = os.Getenv
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{Timeout: 5 * time.Second}
	}
	c := &Client{cfg: cfg}
	c.load = sync.OnceValues(func() (aws.Config, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		// A laptop has no instance metadata, and waiting for it takes seconds.
		conf, err := config.LoadDefaultConfig(ctx, config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
		if err != nil {
			return aws.Config{}, fmt.Errorf("AWS configuration: %w", err)
		}
		return conf, nil
	})
	return c
}

// Endpoint returns where a service is configured to be, or "" if it is AWS's own. name is the
// service's as in variables: "S3", "DYNAMODB_STREAMS".
func (c *Client) Endpoint(name string) string {
	if strings.EqualFold(c.cfg.Getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"), "true") {
		return ""
	}
	if e := c.cfg.Getenv("AWS_ENDPOINT_URL_" + name); e != "" {
		return e
	}
	return c.cfg.Getenv("AWS_ENDPOINT_URL")
}

// credentials returns those of the environment, or made-up ones for a
// service that is not AWS's and where nothing else is configured.
func (c *Client) credentials(conf aws.Config, endpoint string) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		if conf.Credentials != nil {
			creds, err := conf.Credentials.Retrieve(ctx)
			if err == nil || endpoint == "" {
				return creds, err
			}
		}
		return credentials.NewStaticCredentialsProvider("hearth", "hearth", "").Retrieve(ctx)
	})
}

// S3 returns a client for a region.
func (c *Client) S3(region string) (*s3.Client, error) {
	conf, err := c.load()
	if err != nil {
		return nil, err
	}
	endpoint := c.Endpoint("S3")
	return s3.NewFromConfig(conf, func(o *s3.Options) {
		o.Region = region
		o.Credentials = aws.NewCredentialsCache(c.credentials(conf, endpoint))
		o.BaseEndpoint = nil
		if endpoint != "" {
			o.BaseEndpoint = aws.String(endpoint)
			o.UsePathStyle = true // what stands in for S3 seldom has names for buckets
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		}
	}), nil
}

// GetObject opens an object, in one of its versions if version is not "". The
// caller closes it. An *Error is S3's own answer.
func (c *Client) GetObject(ctx context.Context, region, bucket, key, version string) (io.ReadCloser, error) {
	client, err := c.S3(region)
	if err != nil {
		return nil, err
	}
	in := &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String(key)}
	if version != "" {
		in.VersionId = aws.String(version)
	}
	out, err := client.GetObject(ctx, in)
	if err != nil {
		var refused smithy.APIError
		if errors.As(err, &refused) {
			return nil, fmt.Errorf("get s3://%s/%s: %w", bucket, key, &Error{Service: "S3", Code: refused.ErrorCode(), Message: refused.ErrorMessage()})
		}
		return nil, fmt.Errorf("get s3://%s/%s: %w", bucket, key, err)
	}
	return out.Body, nil
}

// Role says whether IAM has the role: nil if so, or if no endpoint of IAM is
// configured; ErrNotFound if not.
func (c *Client) Role(ctx context.Context, region, name string) error {
	endpoint := c.Endpoint("IAM")
	a, ok := arn.Parse(name)
	if endpoint == "" || !ok {
		return nil
	}
	role := a.Resource[strings.LastIndexByte(a.Resource, '/')+1:]
	form := url.Values{"Action": {"GetRole"}, "Version": {"2010-05-08"}, "RoleName": {role}}
	err := c.post(ctx, endpoint, "iam", region, "application/x-www-form-urlencoded; charset=utf-8", "", []byte(form.Encode()))
	return notFound(err, "NoSuchEntity")
}

// Queue says whether SQS has the queue: nil if so, or if no endpoint of SQS
// is configured; ErrNotFound if not.
func (c *Client) Queue(ctx context.Context, region, name string) error {
	endpoint := c.Endpoint("SQS")
	a, ok := arn.Parse(name)
	if endpoint == "" || !ok {
		return nil
	}
	err := c.call(ctx, endpoint, "sqs", region, "application/x-amz-json-1.0", "AmazonSQS.GetQueueUrl", map[string]any{"QueueName": a.Resource})
	return notFound(err, "NonExistentQueue", "QueueDoesNotExist")
}

// Stream says whether Kinesis or DynamoDB has the stream: nil if so, or if no
// endpoint of the service is configured; ErrNotFound if not.
func (c *Client) Stream(ctx context.Context, region, name string) error {
	a, ok := arn.Parse(name)
	if !ok {
		return nil
	}
	if a.Service == "kinesis" {
		endpoint := c.Endpoint("KINESIS")
		if endpoint == "" {
			return nil
		}
		stream, _, _ := strings.Cut(strings.TrimPrefix(a.Resource, "stream/"), "/")
		err := c.call(ctx, endpoint, "kinesis", region, "application/x-amz-json-1.1", "Kinesis_20131202.DescribeStreamSummary", map[string]any{"StreamName": stream})
		return notFound(err, "ResourceNotFoundException")
	}
	endpoint := c.cfg.Getenv("AWS_ENDPOINT_URL_DYNAMODB_STREAMS")
	if endpoint == "" {
		endpoint = c.Endpoint("DYNAMODB") // whoever stands in for one stands in for both
	}
	if endpoint == "" {
		return nil
	}
	err := c.call(ctx, endpoint, "dynamodb", region, "application/x-amz-json-1.0", "DynamoDBStreams_20120810.DescribeStream", map[string]any{"StreamArn": name, "Limit": 1})
	return notFound(err, "ResourceNotFoundException")
}

// notFound makes err ErrNotFound if its code has one of the words.
func notFound(err error, words ...string) error {
	var e *Error
	if errors.As(err, &e) {
		for _, w := range words {
			if strings.Contains(e.Code, w) {
				return ErrNotFound
			}
		}
	}
	return err
}

func (c *Client) call(ctx context.Context, endpoint, service, region, contentType, target string, in map[string]any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return c.post(ctx, endpoint, service, region, contentType, target, body)
}

// post sends a signed request. An *Error is the service's own answer.
func (c *Client) post(ctx context.Context, endpoint, service, region, contentType, target string, body []byte) error {
	conf, err := c.load()
	if err != nil {
		return err
	}
	creds, err := c.credentials(conf, endpoint).Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("%s: credentials: %w", service, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(endpoint, "/")+"/", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: %w", service, err)
	}
	req.Header.Set("Content-Type", contentType)
	if target != "" {
		req.Header.Set("X-Amz-Target", target)
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, creds, req, hex.EncodeToString(sum[:]), service, region, time.Now()); err != nil {
		return fmt.Errorf("%s: sign: %w", service, err)
	}
	resp, err := c.cfg.HTTP.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", service, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%s: read answer: %w", service, err)
	}
	if resp.StatusCode/100 == 2 {
		return nil
	}
	e := refusal(answer)
	e.Service = service
	if e.Code == "" {
		e.Code = resp.Header.Get("X-Amzn-Errortype")
	}
	if e.Code == "" {
		e.Code, e.Message = resp.Status, string(answer)
	}
	return e
}

// refusal reads an error of the JSON protocols or of the query protocol.
func refusal(body []byte) *Error {
	var j struct {
		Type    string `json:"__type"`
		Message string
	}
	if json.Unmarshal(body, &j) == nil {
		return &Error{Code: j.Type[strings.LastIndexByte(j.Type, '#')+1:], Message: j.Message}
	}
	var x struct {
		Error struct{ Code, Message string }
	}
	if xml.Unmarshal(body, &x) == nil {
		return &Error{Code: x.Error.Code, Message: x.Error.Message}
	}
	return &Error{}
}
