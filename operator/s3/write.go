package s3

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
)

// contention is how often a write is sent again that the store did not look at because another one was under way.
const contention = 10

// Write replaces the version that was read, or makes what must not exist when version is empty; otherwise [ErrConflict]. A time until which
// it is locked, in compliance mode, or zero for none.
func (b *Bucket) Write(ctx context.Context, name, version string, data []byte, until time.Time) (newVersion string, err error) {
	mark := map[string]string{metaWrite: rand.Text(), metaAfter: cmp.Or(version, "none")}
	for try := range contention {
		newVersion, err = b.put(ctx, name, version, data, mark, until)
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
		return "", ErrConflict
	}
	if err != nil && (status(err) == 0 || status(err) >= http.StatusInternalServerError) {
		newVersion, err = b.settle(ctx, name, version, mark, err)
	}
	if err != nil && !errors.Is(err, ErrConflict) {
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
func (b *Bucket) settle(ctx context.Context, name, version string, mark map[string]string, lost error) (newVersion string, err error) {
	now, err := b.core.StatObject(ctx, b.place.Bucket, b.place.Prefix+name, minio.StatObjectOptions{})
	switch {
	case err != nil:
		return "", lost
	case now.UserMetadata[metaWrite] == mark[metaWrite]:
		return now.ETag, nil
	case now.ETag != version && now.UserMetadata[metaAfter] == mark[metaAfter]:
		return "", ErrConflict
	}
	return "", lost
}

func (b *Bucket) put(ctx context.Context, name, version string, data []byte, mark map[string]string, until time.Time) (newVersion string, err error) {
	options := minio.PutObjectOptions{
		ContentType: "application/octet-stream", DisableMultipart: true, // the condition is of one request
		UserMetadata: mark,
	}
	if version == "" {
		options.SetMatchETagExcept("*")
	} else {
		options.SetMatchETag(version)
	}
	if !until.IsZero() {
		options.Mode, options.RetainUntilDate = minio.Compliance, until.UTC()
		options.SendContentMd5 = true // which a store wants with a lock
	}
	info, err := b.core.Client.PutObject(ctx, b.place.Bucket, b.place.Prefix+name, bytes.NewReader(data), int64(len(data)), options)
	return info.ETag, err
}
