package lambda

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"

	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/awsclient"
	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/store"
)

// source is where a request says that code is.
type source struct {
	zip         []byte
	bucket      *string
	key         *string
	version     *string
	mode        *string // S3ObjectStorageMode
	image       *string
	kms         *string
	packageType string // "Zip" or "Image"
	updates     bool   // a function that is there
}

// check says what is wrong with the combination of members, before anything is fetched.
func (c source) check() error {
	s3 := c.bucket != nil || c.key != nil || c.version != nil
	if c.packageType == api.PackageTypeImage {
		switch {
		case c.image == nil && c.updates:
			return invalid("Please provide ImageUri when updating a function with packageType Image.")
		case c.image == nil:
			return invalid("Please provide ImageUri when creating a function with packageType Image.")
		case c.zip != nil || s3:
			return invalid("Please do not provide other FunctionCode parameters when providing an ImageUri.")
		}
		return nil
	}
	switch {
	case c.image != nil && c.updates:
		return invalid("Please don't provide ImageUri when updating a function with packageType Zip.")
	case c.image != nil:
		return invalid("Please don't provide ImageUri when creating a function with packageType Zip.")
	case c.zip != nil && s3:
		return invalid("Please do not provide other FunctionCode parameters when providing a ZipFile.")
	case c.zip == nil && (c.bucket == nil || c.key == nil):
		return invalid("Please provide a source for function code.")
	}
	return nil
}

// fetch takes the code into the code store. Nothing refers to it yet, so that
// it is collected if the request fails after all.
func (s *Service) fetch(ctx context.Context, c source) (store.Code, error) {
	if err := c.check(); err != nil {
		return store.Code{}, err
	}
	if c.packageType == api.PackageTypeImage {
		out := store.Code{ImageURI: *c.image}
		resolveImage(&out, *c.image)
		return out, nil
	}
	var r io.Reader = bytes.NewReader(c.zip)
	lim := code.Limits{Zipped: s.quotas.ZippedCode, Unzipped: s.quotas.UnzippedCode}
	if c.zip == nil {
		object, err := s.object(ctx, c)
		if err != nil {
			return store.Code{}, err
		}
		defer object.Close()
		r, lim.Zipped = object, s.quotas.UnzippedCode
	}
	info, err := s.cfg.Code.Put(ctx, r, lim)
	if err != nil {
		return store.Code{}, badArchive(err)
	}
	out := store.Code{Hash: info.Hash, SHA256: info.SHA256(), Size: info.Size, UnzippedSize: info.Unzipped, KMSKeyARN: awsapi.Val(c.kms)}
	if awsapi.Val(c.mode) == api.S3ObjectStorageModeReference {
		out.S3 = &api.ResolvedS3Object{S3Bucket: c.bucket, S3Key: c.key, S3ObjectVersion: c.version}
	}
	return out, nil
}

// object opens the S3 object that c names.
func (s *Service) object(ctx context.Context, c source) (io.ReadCloser, error) {
	if s.cfg.Objects == nil {
		return nil, invalid("Error occurred while GetObject. S3 Error Code: ServiceUnavailable. S3 Error Message: This server reaches no S3.")
	}
	r, err := s.cfg.Objects.GetObject(ctx, awsapi.RequestFrom(ctx).Region, *c.bucket, *c.key, awsapi.Val(c.version))
	if err == nil {
		return r, nil
	}
	var refused *awsclient.Error
	if errors.As(err, &refused) {
		return nil, invalid("Error occurred while GetObject. S3 Error Code: %s. S3 Error Message: %s", refused.Code, refused.Message)
	}
	e := invalid("Error occurred while GetObject. S3 Error Code: ServiceUnavailable. S3 Error Message: S3 could not be reached.")
	e.Cause = err
	return nil, e
}

// badArchive makes what package code says of an archive AWS's answer.
func badArchive(err error) error {
	var large *code.TooLargeError
	switch {
	case errors.As(err, &large) && large.Zipped:
		return &awsapi.Error{Code: "RequestEntityTooLargeException", Status: 413, Message: "Zipped size must be smaller than " + itoa(large.Limit) + " bytes", Cause: err}
	case errors.As(err, &large):
		e := invalid("Unzipped size must be smaller than %d bytes", large.Limit)
		e.Cause = err
		return e
	case errors.Is(err, code.ErrEmpty):
		e := invalid("Uploaded file must be a non-empty zip")
		e.Cause = err
		return e
	case errors.Is(err, code.ErrNotZip), errors.Is(err, code.ErrUnsafePath):
		e := invalid("Could not unzip uploaded file. Please check your file, then try to upload again.")
		e.Cause = err
		return e
	}
	return err
}

// resolveImage notes what is known of an image's digest: that in its name, and
// until the image is pulled a stand-in, so that another name is another code.
func resolveImage(c *store.Code, image string) {
	if repo, digest, ok := strings.Cut(image, "@sha256:"); ok {
		c.ResolvedImage, c.SHA256 = repo+"@sha256:"+digest, digest
		return
	}
	sum := sha256.Sum256([]byte(image))
	c.ResolvedImage, c.SHA256 = "", hex.EncodeToString(sum[:])
}
