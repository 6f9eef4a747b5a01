package bucket

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/code/blobtest"
	"github.com/hearth-run/hearth/internal/hearthtest"
)

// server starts moto's S3, and returns a client and a bucket of it.
func server(t *testing.T) (*s3.Client, string) {
	t.Helper()
	python := hearthtest.Need(t, "python")
	if err := exec.Command(python, "-c", "import moto.server").Run(); err != nil {
		hearthtest.Skip(t, "moto", "python cannot import moto.server")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	cmd := exec.Command(python, "-m", "moto.server", "-p", fmt.Sprint(port))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if res, err := http.Get(url + "/moto-api/"); err == nil {
			res.Body.Close()
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("moto does not answer: %v\n%s", err, out.String())
		}
	}
	client := s3.New(s3.Options{
		BaseEndpoint:               &url,
		Region:                     "us-east-1",
		UsePathStyle:               true,
		Credentials:                credentials.NewStaticCredentialsProvider("test", "test", ""),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("hearth")}); err != nil {
		t.Fatal(err)
	}
	return client, "hearth"
}

func TestBucket(t *testing.T) {
	client, name := server(t)
	t.Run("blobs", func(t *testing.T) { blobtest.Test(t, New(client, name, "code/")) })

	// Two servers, each with its own folder, share an archive.
	t.Run("store", func(t *testing.T) {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		f, _ := w.Create("lambda_function.py")
		io.WriteString(f, "print(1)")
		w.Close()
		open := func() *code.Store {
			s, err := code.Open(t.TempDir(), code.Config{Blobs: New(client, name, "shared/"), Grace: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return s
		}
		info, err := open().Put(t.Context(), bytes.NewReader(b.Bytes()), code.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		other := open()
		dir, release, err := other.Tree(t.Context(), info.Hash)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		if got, err := os.ReadFile(filepath.Join(dir, "lambda_function.py")); string(got) != "print(1)" || err != nil {
			t.Errorf("file = %q, %v", got, err)
		}
		if n, _, err := other.Collect(context.Background(), func(string) bool { return false }); n != 0 || err != nil {
			t.Errorf("Collect of a young archive = %d, %v", n, err)
		}
	})
	t.Run("no bucket", func(t *testing.T) {
		err := New(client, "none", "").Put(t.Context(), "00", bytes.NewReader([]byte("x")))
		if err == nil {
			t.Error("Put into no bucket succeeded")
		}
	})
}
