package mover

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/kopia/kopia/repo/blob"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/broletto/broletto/operator/move"
)

// attempts is how often a request is made that failed for a reason that may pass. With the pauses between, that takes half a minute.
const attempts = 8

// formatBlob is the one that makes a prefix a repository.
const formatBlob = "kopia.repository"

// bucket is a store in a bucket. kopia's own finds credentials elsewhere when it is given none, reads ranges of each piece, and neither
// tells what it asked for nor ends a request on which nothing moves.
type bucket struct {
	blob.DefaultProviderImplementation
	client       *minio.Client
	name, prefix string
	lock         time.Duration
	*meter
	pause func(ctx context.Context, attempt int) error
}

var _ blob.Storage = (*bucket)(nil)

func newBucket(s move.Store, lock time.Duration, m *meter, pause func(ctx context.Context, attempt int) error) (*bucket, error) {
	u, err := url.Parse(s.Endpoint)
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy, t.DisableCompression, t.MaxIdleConnsPerHost = nil, true, 16
	if s.CA != "" {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(s.CA)) {
			return nil, errors.New("the order's store.ca has no certificate in PEM")
		}
		t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(s.AccessKey, s.SecretKey, s.SessionToken),
		Secure: u.Scheme == "https", Region: s.Region, MaxRetries: 1, TrailingHeaders: true,
		Transport: transport{RoundTripper: t, meter: m, patience: patience},
	})
	if err != nil {
		return nil, fmt.Errorf("the order's store: %w", err)
	}
	return &bucket{client: client, name: s.Bucket, prefix: s.Prefix, lock: lock, meter: m, pause: pause}, nil
}

// pause waits between attempts: from 0.2 s doubling up to 10 s, less a random part.
func pause(ctx context.Context, attempt int) error {
	d := min(200*time.Millisecond<<attempt, 10*time.Second)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d/2 + rand.N(d/2)):
		return nil
	}
}

// try makes attempts until one succeeds or fails for good.
func (b *bucket) try(ctx context.Context, what string, id blob.ID, attempt func() error) error {
	var err error
	for n := range attempts {
		if n > 0 && b.pause(ctx, n-1) != nil {
			break
		}
		var final bool
		if err, final = translate(attempt()); err == nil || final {
			break
		}
	}
	if err == nil || errors.Is(err, blob.ErrBlobNotFound) || errors.Is(err, blob.ErrInvalidRange) || errors.Is(err, blob.ErrBlobAlreadyExists) {
		return err
	}
	return &storeError{what: what, id: id, err: err}
}

// storeError is an answer of the store, or that there was none.
type storeError struct {
	what string
	id   blob.ID
	err  error
}

func (e *storeError) Error() string { return fmt.Sprintf("the store: %s %s: %v", e.what, e.id, e.err) }
func (e *storeError) Unwrap() error { return e.err }

// errDenied is what a store says to credentials that do not suffice.
var errDenied = errors.New("the store refuses the credentials")

// translate puts an error into kopia's words, and says whether another attempt would be in vain.
func translate(err error) (out error, final bool) {
	var r minio.ErrorResponse
	switch {
	case err == nil:
		return nil, true
	case !errors.As(err, &r):
		return err, errors.Is(err, context.Canceled) || errors.Is(err, blob.ErrInvalidRange) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EFBIG)
	case r.Code == minio.NoSuchKey || r.StatusCode == http.StatusNotFound && r.Code != minio.NoSuchBucket:
		return blob.ErrBlobNotFound, true
	case r.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return blob.ErrInvalidRange, true
	case r.StatusCode == http.StatusPreconditionFailed:
		return blob.ErrBlobAlreadyExists, true
	case r.StatusCode == http.StatusForbidden || r.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%w: %w", errDenied, err), true
	case r.StatusCode == http.StatusRequestTimeout || r.StatusCode == http.StatusTooManyRequests || r.StatusCode == http.StatusConflict:
		return err, false
	}
	return err, r.StatusCode/100 == 4 && r.Code != "IncompleteBody" && r.Code != "BadDigest"
}

func (b *bucket) key(id blob.ID) string { return b.prefix + string(id) }

// GetBlob reads a blob or a range of it.
func (b *bucket) GetBlob(ctx context.Context, id blob.ID, offset, length int64, out blob.OutputBuffer) error {
	return b.try(ctx, "reading", id, func() error {
		out.Reset()
		var o minio.GetObjectOptions
		if length >= 0 {
			if err := o.SetRange(offset, offset+max(length, 1)-1); err != nil {
				return blob.ErrInvalidRange
			}
		}
		body, info, _, err := (&minio.Core{Client: b.client}).GetObject(ctx, b.name, b.key(id), o)
		if err != nil {
			return err
		}
		defer func() { _ = body.Close() }()
		if length == 0 {
			return nil
		}
		want := length
		if length < 0 {
			want = info.Size // of the answer
		}
		n, err := io.Copy(out, body)
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), err == nil && n < info.Size:
			return &brokenOff{n, info.Size}
		case err != nil:
			return err
		case n < want && info.Size >= 0:
			return blob.ErrInvalidRange // that is all there is
		case n != want:
			return fmt.Errorf("%d bytes of %d were sent", n, want)
		}
		return nil
	})
}

// brokenOff is an answer that ended after some bytes of those that it was to have.
type brokenOff struct{ sent, announced int64 }

func (e *brokenOff) Error() string {
	return fmt.Sprintf("the answer breaks off after %d bytes of %d", e.sent, e.announced)
}

// GetMetadata tells the length of a blob.
func (b *bucket) GetMetadata(ctx context.Context, id blob.ID) (m blob.Metadata, err error) {
	err = b.try(ctx, "asking for", id, func() error {
		info, err := b.client.StatObject(ctx, b.name, b.key(id), minio.StatObjectOptions{})
		m = blob.Metadata{BlobID: id, Length: info.Size, Timestamp: info.LastModified}
		return err
	})
	return m, err
}

// PutBlob writes a blob, locked where the order says so. The one that makes a repository is never written twice.
func (b *bucket) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, o blob.PutOptions) error {
	if !o.SetModTime.IsZero() {
		return blob.ErrSetTimeUnsupported
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err := data.WriteTo(sum); err != nil {
		return err
	}
	options := b.putOptions(id, sum)
	if id == formatBlob || o.DoNotRecreate {
		options.SetMatchETagExcept("*")
	}
	err := b.try(ctx, "writing", id, func() error {
		r := data.Reader()
		defer func() { _ = r.Close() }()
		_, err := b.client.PutObject(ctx, b.name, b.key(id), r, int64(data.Length()), options)
		return err
	})
	if err == nil && o.GetModTime != nil {
		var m blob.Metadata
		m, err = b.GetMetadata(ctx, id)
		*o.GetModTime = m.Timestamp
	}
	return err
}

func (b *bucket) putOptions(id blob.ID, sum hash.Hash) minio.PutObjectOptions {
	o := minio.PutObjectOptions{
		ContentType: "application/octet-stream", DisableMultipart: true, DisableContentSha256: true,
		// The store checks it, and takes a lock only with it.
		UserMetadata: map[string]string{"x-amz-checksum-crc32c": base64.StdEncoding.EncodeToString(sum.Sum(nil))},
	}
	if b.lock > 0 && lockable(id) {
		o.Mode, o.RetainUntilDate = minio.Compliance, b.until()
	}
	return o
}

// until is when a lock ends that is made now.
func (b *bucket) until() time.Time { return b.now().Add(b.lock).UTC().Truncate(time.Second) }

// lockable tells whether snapshots need a blob. Sessions and the times of maintenance are not needed.
func lockable(id blob.ID) bool {
	return isPack(id) || strings.HasPrefix(string(id), "x") || id == formatBlob || id == "kopia.blobcfg"
}

// DeleteBlob deletes a blob, which may not be there.
func (b *bucket) DeleteBlob(ctx context.Context, id blob.ID) error {
	err := b.try(ctx, "deleting", id, func() error {
		return b.client.RemoveObject(ctx, b.name, b.key(id), minio.RemoveObjectOptions{})
	})
	if errors.Is(err, blob.ErrBlobNotFound) {
		return nil
	}
	return err
}

// ListBlobs calls a function for each blob whose name begins so.
func (b *bucket) ListBlobs(ctx context.Context, prefix blob.ID, each func(blob.Metadata) error) error {
	var all []blob.Metadata
	err := b.try(ctx, "listing", prefix, func() error {
		all = nil
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for o := range b.client.ListObjects(ctx, b.name, minio.ListObjectsOptions{Prefix: b.key(prefix), Recursive: true}) {
			if o.Err != nil {
				return o.Err
			}
			b.moved.Add(1)
			all = append(all, blob.Metadata{BlobID: blob.ID(strings.TrimPrefix(o.Key, b.prefix)), Length: o.Size, Timestamp: o.LastModified})
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	for _, m := range all {
		if err := each(m); err != nil {
			return err
		}
	}
	return nil
}

// prolong locks a blob from now on for as long as one that is written now.
func (b *bucket) prolong(ctx context.Context, id blob.ID) error {
	until, mode := b.until(), minio.Compliance
	return b.try(ctx, "locking", id, func() error {
		return b.client.PutObjectRetention(ctx, b.name, b.key(id), minio.PutObjectRetentionOptions{RetainUntilDate: &until, Mode: &mode})
	})
}

// ConnectionInfo is not asked for: a session's handle stands for the store.
func (b *bucket) ConnectionInfo() blob.ConnectionInfo { return blob.ConnectionInfo{} }

// DisplayName names the store to people.
func (b *bucket) DisplayName() string { return "s3://" + b.name + "/" + b.prefix }
