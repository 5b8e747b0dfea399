package bucket

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/broletto/broletto/operator/vault"
)

// store is a vault.Store.
type store struct {
	place
	s3 minio.Core
}

// New is a store at s3://bucket/prefix?endpoint=https://host&region=name, with the credentials in a folder. It connects to nothing yet; the
// first use proves that the bucket keeps conditions.
func New(u *url.URL, folder string) (*vault.Remote, error) {
	p, err := parse(u, folder)
	if err != nil {
		return nil, err
	}
	s, err := newStore(p)
	if err != nil {
		return nil, fmt.Errorf("the state store %s: %w", u.Redacted(), err)
	}
	return vault.NewRemote("s3://"+p.bucket+"/"+p.prefix, func(ctx context.Context) (vault.Store, error) { return s, s.prove(ctx) }), nil
}

func newStore(p place) (*store, error) {
	client, err := minio.New(p.endpoint.Host, &minio.Options{
		Creds: credentials.New(p), Secure: p.endpoint.Scheme == "https", Region: p.region,
		// A write that is sent again because its answer was lost would lose to itself, and be told as somebody else's.
		MaxRetries: 1,
	})
	if err != nil {
		return nil, err
	}
	return &store{place: p, s3: minio.Core{Client: client}}, nil
}

// Read implements vault.Store. One answer is one object, whole: its length is checked by the client.
func (s *store) Read(ctx context.Context, name string) (data []byte, version string, err error) {
	body, info, _, err := s.s3.GetObject(ctx, s.bucket, s.prefix+name, minio.GetObjectOptions{})
	if code(err) == minio.NoSuchKey {
		return nil, "", vault.ErrNotFound
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading %s: %w", name, err)
	}
	data, err = io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, "", fmt.Errorf("reading %s: %w", name, err)
	}
	return data, info.ETag, nil
}

// contention is how often a write is sent again that the store did not look at because another one was under way.
const contention = 10

// Write implements vault.Store.
func (s *store) Write(ctx context.Context, name, version string, data []byte) (newVersion string, err error) {
	mark := map[string]string{metaWrite: rand.Text(), metaAfter: cmp.Or(version, "none")}
	for try := range contention {
		newVersion, err = s.put(ctx, name, version, data, mark)
		if status(err) != http.StatusConflict {
			break
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("writing %s: %w", name, ctx.Err())
		case <-time.After(time.Duration(try+1) * 20 * time.Millisecond):
		}
	}
	if status(err) == http.StatusPreconditionFailed || version != "" && code(err) == minio.NoSuchKey {
		return "", vault.ErrConflict
	}
	if err != nil && (status(err) == 0 || status(err) >= http.StatusInternalServerError) {
		newVersion, err = s.settle(ctx, name, version, mark, err)
	}
	if err != nil && !errors.Is(err, vault.ErrConflict) {
		return "", fmt.Errorf("writing %s: %w", name, err)
	}
	return newVersion, err
}

// What an object says of the write that made it: which one it was, and which version it replaced.
const (
	metaWrite = "Broletto-Write"
	metaAfter = "Broletto-After"
)

// settle finds out what became of a write that got no answer, such as one that the store refused before it had read it all, by the object
// that is there: it is of this write, or of one that came instead, or, else, nobody can tell.
func (s *store) settle(ctx context.Context, name, version string, mark map[string]string, lost error) (newVersion string, err error) {
	now, err := s.s3.StatObject(ctx, s.bucket, s.prefix+name, minio.StatObjectOptions{})
	switch {
	case err != nil:
		return "", lost
	case now.UserMetadata[metaWrite] == mark[metaWrite]:
		return now.ETag, nil
	case now.ETag != version && now.UserMetadata[metaAfter] == mark[metaAfter]:
		return "", vault.ErrConflict
	}
	return "", lost
}

func (s *store) put(ctx context.Context, name, version string, data []byte, mark map[string]string) (newVersion string, err error) {
	options := minio.PutObjectOptions{
		ContentType: "application/octet-stream", DisableMultipart: true, // the condition is of one request
		UserMetadata: mark,
	}
	if version == "" {
		options.SetMatchETagExcept("*")
	} else {
		options.SetMatchETag(version)
	}
	info, err := s.s3.Client.PutObject(ctx, s.bucket, s.prefix+name, bytes.NewReader(data), int64(len(data)), options)
	return info.ETag, err
}

// Delete implements vault.Store.
func (s *store) Delete(ctx context.Context, name string) error {
	err := s.s3.RemoveObject(ctx, s.bucket, s.prefix+name, minio.RemoveObjectOptions{})
	if err != nil && code(err) != minio.NoSuchKey {
		return fmt.Errorf("deleting %s: %w", name, err)
	}
	return nil
}

// List implements vault.Store.
func (s *store) List(ctx context.Context, prefix string) (names []string, err error) {
	for o := range s.s3.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, fmt.Errorf("listing %s: %w", prefix, o.Err)
		}
		names = append(names, strings.TrimPrefix(o.Key, s.prefix))
	}
	slices.Sort(names)
	return names, nil
}

// status is the HTTP status of a refusal; 0: there is none.
func status(err error) int {
	refusal, _ := errors.AsType[minio.ErrorResponse](err)
	return refusal.StatusCode
}

// code is the S3 code of a refusal; empty: there is none.
func code(err error) string {
	refusal, _ := errors.AsType[minio.ErrorResponse](err)
	return refusal.Code
}
