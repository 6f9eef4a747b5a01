// Package bucket keeps archives in an S3 bucket, or one of a service that
// speaks S3, for servers that share their state.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/hearth-run/hearth/internal/code"
)

// Client is what is used of *s3.Client. For services that are not AWS's, make
// it with RequestChecksumCalculation and ResponseChecksumValidation "when
// required", and mostly with UsePathStyle.
type Client interface {
	s3.ListObjectsV2APIClient
	s3.HeadObjectAPIClient
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	DeleteObject(context.Context, *s3.DeleteObjectInput, ...func(*s3.Options)) (*s3.DeleteObjectOutput, error)
}

var _ Client = (*s3.Client)(nil)

// Blobs keeps archives under prefix in a bucket.
type Blobs struct {
	client Client
	bucket string
	prefix string
}

var _ code.Blobs = (*Blobs)(nil)

// New returns the archives under prefix ("hearth/code/") in bucket, which must exist.
func New(client Client, bucket, prefix string) *Blobs {
	return &Blobs{client: client, bucket: bucket, prefix: prefix}
}

const suffix = ".zip"

// fresh is how young an object must be for Put to leave it: much younger than
// what code.Store.Collect may remove.
const fresh = 10 * time.Minute

func (b *Blobs) key(hash string) *string { return aws.String(b.prefix + hash + suffix) }

// Put stores what r gives. An object that is there and old is written again,
// which is how S3 notes that it was.
func (b *Blobs) Put(ctx context.Context, hash string, r io.ReadSeeker) error {
	_, written, err := b.Stat(ctx, hash)
	if err == nil && time.Since(written) < fresh {
		return nil
	}
	if err != nil && !errors.Is(err, code.ErrNotFound) {
		return err
	}
	_, err = b.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.bucket, Key: b.key(hash), Body: r, ContentType: aws.String("application/zip")})
	if err != nil {
		return fmt.Errorf("put s3://%s/%s: %w", b.bucket, *b.key(hash), err)
	}
	return nil
}

func (b *Blobs) Get(ctx context.Context, hash string) (io.ReadCloser, int64, error) {
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.bucket, Key: b.key(hash)})
	if err != nil {
		return nil, 0, b.fail("get", hash, err)
	}
	return out.Body, aws.ToInt64(out.ContentLength), nil
}

func (b *Blobs) Stat(ctx context.Context, hash string) (int64, time.Time, error) {
	out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.bucket, Key: b.key(hash)})
	if err != nil {
		return 0, time.Time{}, b.fail("head", hash, err)
	}
	return aws.ToInt64(out.ContentLength), aws.ToTime(out.LastModified), nil
}

func (b *Blobs) Delete(ctx context.Context, hash string) error {
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.bucket, Key: b.key(hash)})
	if err = b.fail("delete", hash, err); errors.Is(err, code.ErrNotFound) {
		return nil
	}
	return err
}

func (b *Blobs) List(ctx context.Context, f func(code.Blob) error) error {
	pages := s3.NewListObjectsV2Paginator(b.client, &s3.ListObjectsV2Input{Bucket: &b.bucket, Prefix: &b.prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("list s3://%s/%s: %w", b.bucket, b.prefix, err)
		}
		for _, o := range page.Contents {
			hash, ok := strings.CutSuffix(strings.TrimPrefix(aws.ToString(o.Key), b.prefix), suffix)
			if !ok || strings.Contains(hash, "/") {
				continue
			}
			if err := f(code.Blob{Hash: hash, Size: aws.ToInt64(o.Size), Written: aws.ToTime(o.LastModified)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// fail says what was tried, and that an object is not there where that is so.
func (b *Blobs) fail(what, hash string, err error) error {
	if err == nil {
		return nil
	}
	var res *awshttp.ResponseError
	if errors.As(err, &res) && res.HTTPStatusCode() == http.StatusNotFound && !strings.Contains(err.Error(), "NoSuchBucket") {
		return fmt.Errorf("%w in s3://%s/%s", code.ErrNotFound, b.bucket, b.prefix)
	}
	return fmt.Errorf("%s s3://%s/%s: %w", what, b.bucket, *b.key(hash), err)
}
