package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
)

var (
	// ErrNotFound says that there is no object of that name.
	ErrNotFound = errors.New("no such object in the bucket")
	// ErrConflict says that the condition of a write does not hold: nothing has changed.
	ErrConflict = errors.New("the condition of the write does not hold")
	// ErrUnfit says that a store takes a write against its condition: nothing may be kept in it.
	ErrUnfit = errors.New("this store does not keep the conditions of a write")
	// ErrTooLarge says that an object is larger than the caller wants to read.
	ErrTooLarge = errors.New("the object is too large")
)

// Place is a bucket, or what is under a prefix of it.
type Place struct {
	// Endpoint is https:// or http:// with host and port alone.
	Endpoint string
	Bucket   string
	// Region may be empty: it is asked for then.
	Region string
	// Prefix begins the name of every object, and is empty or ends with a slash.
	Prefix string
}

// Check says what is wrong with the place.
func (p Place) Check() error {
	if err := s3utils.CheckValidBucketNameStrict(p.Bucket); err != nil {
		return fmt.Errorf("it names no bucket: %w", err)
	}
	u, err := url.Parse(p.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return errors.New("its endpoint is no https:// or http:// with host and port alone")
	}
	return nil
}

// Credentials of an account of the store.
type Credentials struct {
	ID, Secret string
	// Token is of a session, and empty without one.
	Token string
}

// Bucket is where objects are.
type Bucket struct {
	place  Place
	core   minio.Core
	offset atomic.Int64 // ns
}

// Open is the bucket at a place. It connects to nothing yet. The credentials are asked for at each use: whoever changes a mounted Secret
// need not restart the operator.
func Open(p Place, account func() (Credentials, error)) (*Bucket, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	endpoint, err := url.Parse(p.Endpoint)
	if err != nil {
		return nil, err
	}
	secure := endpoint.Scheme == "https"
	transport, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, err
	}
	transport.MaxIdleConnsPerHost = 32
	b := &Bucket{place: p}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds: credentials.New(provider(account)), Secure: secure, Region: p.Region, Transport: watch{transport, &b.offset},
		// A write that is sent again because its answer was lost would lose to itself, and be told as somebody else's.
		MaxRetries: 1,
	})
	if err != nil {
		return nil, err
	}
	b.core = minio.Core{Client: client}
	return b, nil
}

// Offset is by how much the store's clock is ahead of ours, to the second, by the last answer that said its time.
func (b *Bucket) Offset() time.Duration { return time.Duration(b.offset.Load()) }

// Get reads an object whole, and its version. One answer is one object: its length is checked by the client. Zero for limit is none. An answer that
// breaks off is [io.ErrUnexpectedEOF].
func (b *Bucket) Get(ctx context.Context, name string, limit int64) (data []byte, version string, err error) {
	body, info, _, err := b.core.GetObject(ctx, b.place.Bucket, b.place.Prefix+name, minio.GetObjectOptions{})
	if code(err) == minio.NoSuchKey {
		return nil, "", ErrNotFound
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading %s: %w", name, err)
	}
	var from io.Reader = body
	if limit > 0 {
		from = io.LimitReader(body, limit+1) // whatever it says of its size
	}
	if limit == 0 || info.Size <= limit {
		data = make([]byte, 0, max(info.Size, 0)+1) // one more, so that the end is seen without growing
		if data, err = readAll(data, from); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err) // however the connection ended
		}
	}
	err = errors.Join(err, body.Close())
	switch {
	case limit > 0 && max(info.Size, int64(len(data))) > limit:
		err = ErrTooLarge
	case err == nil && info.Size >= 0 && int64(len(data)) != info.Size:
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading %s: %w", name, err)
	}
	return data, info.ETag, nil
}

func readAll(into []byte, from io.Reader) ([]byte, error) {
	for {
		if len(into) == cap(into) {
			into = append(into, 0)[:len(into)]
		}
		n, err := from.Read(into[len(into):cap(into)])
		into = into[:len(into)+n]
		if errors.Is(err, io.EOF) {
			return into, nil
		}
		if err != nil {
			return into, err
		}
	}
}

// Entry is one object of a listing.
type Entry struct {
	Name string
	Size int64
	Time time.Time // by the store
}

// List lists the objects with a prefix, in no order.
func (b *Bucket) List(ctx context.Context, prefix string) (found []Entry, err error) {
	for o := range b.core.ListObjectsIter(ctx, b.place.Bucket, minio.ListObjectsOptions{Prefix: b.place.Prefix + prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, fmt.Errorf("listing %s: %w", prefix, o.Err)
		}
		found = append(found, Entry{Name: o.Key[min(len(b.place.Prefix), len(o.Key)):], Size: o.Size, Time: o.LastModified})
	}
	if err := ctx.Err(); err != nil { // the client ends a listing that is cut short as if it were whole
		return nil, fmt.Errorf("listing %s: %w", prefix, err)
	}
	return found, nil
}

// Delete takes an object away, or, where the bucket keeps versions, puts a delete marker over it; of nothing, it succeeds.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	err := b.core.RemoveObject(ctx, b.place.Bucket, b.place.Prefix+name, minio.RemoveObjectOptions{})
	if err != nil && code(err) != minio.NoSuchKey {
		return fmt.Errorf("deleting %s: %w", name, err)
	}
	return nil
}

// Refused says that the store has understood and said no, rather than failed.
func Refused(err error) bool {
	return status(err) >= http.StatusBadRequest && status(err) < http.StatusInternalServerError
}

// Denied says that the store does not know the account, or does not let it do this.
func Denied(err error) bool {
	return status(err) == http.StatusUnauthorized || status(err) == http.StatusForbidden
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

// watch takes the store's time from its answers.
type watch struct {
	next   http.RoundTripper
	offset *atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (w watch) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := time.Now()
	answer, err := w.next.RoundTrip(r)
	if err != nil {
		return answer, err
	}
	if date, failed := http.ParseTime(answer.Header.Get("Date")); failed == nil {
		middle := sent.Add(time.Since(sent) / 2)
		w.offset.Store(int64(date.Add(time.Second / 2).Sub(middle).Round(time.Second))) // the header is cut to the second
	}
	return answer, nil
}

// provider has the credentials asked for each time.
type provider func() (Credentials, error)

// Retrieve implements credentials.Provider.
func (p provider) Retrieve() (credentials.Value, error) {
	c, err := p()
	return credentials.Value{AccessKeyID: c.ID, SecretAccessKey: c.Secret, SessionToken: c.Token, SignerType: credentials.SignatureV4}, err
}

// RetrieveWithCredContext is Retrieve.
func (p provider) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return p.Retrieve()
}

// IsExpired implements credentials.Provider.
func (p provider) IsExpired() bool { return true }

// Make makes the bucket, with versions and locks, where it is not there yet.
func (b *Bucket) Make(ctx context.Context) error {
	err := b.core.MakeBucket(ctx, b.place.Bucket, minio.MakeBucketOptions{Region: b.place.Region, ObjectLocking: true})
	if code := minio.ToErrorResponse(err).Code; err != nil && code != minio.BucketAlreadyOwnedByYou && code != minio.BucketAlreadyExists {
		return fmt.Errorf("making bucket %s: %w", b.place.Bucket, err)
	}
	return nil
}
