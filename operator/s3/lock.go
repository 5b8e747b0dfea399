package s3

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/minio/minio-go/v7"
)

var (
	unlocked time.Time
	// ErrNotLocked says that a store lets locked objects be deleted, or that the lock can be taken off.
	ErrNotLocked = errors.New("this store does not keep locks")
)

// Keep prolongs the lock of an object, and never shortens it. [ErrNotFound] when there is none.
func (b *Bucket) Keep(ctx context.Context, name string, until time.Time) error {
	mode, until := minio.Compliance, until.UTC()
	key := b.place.Prefix + name
	err := b.core.PutObjectRetention(ctx, b.place.Bucket, key, minio.PutObjectRetentionOptions{Mode: &mode, RetainUntilDate: &until})
	if Refused(err) && !gone(err) { // as shortening is
		if now, failed := b.lockOf(ctx, key, ""); failed == nil && !now.Before(until.Truncate(time.Second)) {
			return nil
		}
	}
	if gone(err) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("prolonging the lock of %s: %w", name, err)
	}
	return nil
}

// gone says that there is nothing, or that a delete marker says so.
func gone(err error) bool {
	return code(err) == minio.NoSuchKey || code(err) == "MethodNotAllowed" || code(err) == "NoSuchVersion"
}

// lockOf is until when a version is locked in compliance mode; zero: it is not. It asks for the headers, which all stores answer alike.
func (b *Bucket) lockOf(ctx context.Context, key, version string) (until time.Time, err error) {
	info, err := b.core.StatObject(ctx, b.place.Bucket, key, minio.StatObjectOptions{VersionID: version})
	if err != nil || info.Metadata.Get("X-Amz-Object-Lock-Mode") != minio.Compliance.String() {
		return time.Time{}, err
	}
	return time.Parse(time.RFC3339, info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"))
}

// ProveLock writes a canary under a lock of a minute, and tries to delete its version, also with bypass, to shorten the lock and to weaken
// it. [ErrNotLocked] when any of that goes through. The canary stays until the bucket's lifecycle takes it.
func (b *Bucket) ProveLock(ctx context.Context) error {
	name := "proof-" + rand.Text()
	until := time.Now().Add(b.Offset() + time.Minute).Truncate(time.Second)
	if _, err := b.Write(ctx, name, "", []byte("canary"), until); err != nil {
		if Refused(err) {
			return fmt.Errorf("%w: it refuses an object with a lock: make a bucket with object lock and versions: %w", ErrNotLocked, err)
		}
		return err
	}
	key := b.place.Prefix + name
	info, err := b.core.StatObject(ctx, b.place.Bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if got, err := b.lockOf(ctx, key, info.VersionID); err != nil {
		return fmt.Errorf("reading the lock of %s: %w", name, err)
	} else if !got.Equal(until) {
		return notLocked(fmt.Sprintf("an object locked until %s is locked until %s", until.UTC().Format(time.RFC3339), got.UTC().Format(time.RFC3339)))
	}
	if err := b.attack(ctx, key, info.VersionID, until); err != nil {
		return err
	}
	if now, err := b.core.StatObject(ctx, b.place.Bucket, key, minio.StatObjectOptions{VersionID: info.VersionID}); err != nil || now.VersionID != info.VersionID {
		return notLocked("the canary is gone though its deletion was refused")
	}
	return b.Delete(ctx, name)
}

// attack tries everything that the lock must stand.
func (b *Bucket) attack(ctx context.Context, key, version string, until time.Time) error {
	remove := func(bypass bool) error {
		return b.core.RemoveObject(ctx, b.place.Bucket, key, minio.RemoveObjectOptions{VersionID: version, GovernanceBypass: bypass})
	}
	relock := func(mode minio.RetentionMode, until time.Time, bypass bool) error {
		until = until.UTC()
		return b.core.PutObjectRetention(ctx, b.place.Bucket, key, minio.PutObjectRetentionOptions{
			VersionID: version, Mode: &mode, RetainUntilDate: &until, GovernanceBypass: bypass,
		})
	}
	sooner := until.Add(-30 * time.Second)
	for _, try := range []struct {
		what string
		do   func() error
	}{
		{"shortening a lock", func() error { return relock(minio.Compliance, sooner, false) }},
		{"shortening a lock with bypass", func() error { return relock(minio.Compliance, sooner, true) }},
		{"weakening a lock to governance", func() error { return relock(minio.Governance, until, true) }},
		{"deleting a locked version", func() error { return remove(false) }},
		{"deleting a locked version with bypass", func() error { return remove(true) }},
	} {
		if err := try.do(); err == nil {
			return notLocked(try.what + " went through")
		} else if !Refused(err) {
			return fmt.Errorf("trying the lock, %s: %w", try.what, err)
		}
	}
	return nil
}

func notLocked(what string) error {
	return fmt.Errorf("%w: %s, so that whoever has its credentials can destroy backups: take a store that keeps object locks in compliance mode",
		ErrNotLocked, what)
}

// MayDeleteVersions tries on an object of its own whether the credentials can delete a version for good, which those of a writer should not.
// Where the bucket keeps no versions, they can.
func (b *Bucket) MayDeleteVersions(ctx context.Context) (bool, error) {
	name := "proof-" + rand.Text()
	if _, err := b.Write(ctx, name, "", []byte("canary"), unlocked); err != nil {
		return false, err
	}
	key := b.place.Prefix + name
	info, err := b.core.StatObject(ctx, b.place.Bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", name, err)
	}
	if info.VersionID == "" || info.VersionID == "null" {
		return true, b.Delete(ctx, name)
	}
	err = b.core.RemoveObject(ctx, b.place.Bucket, key, minio.RemoveObjectOptions{VersionID: info.VersionID})
	if err == nil {
		return true, nil
	}
	if !Refused(err) {
		return false, fmt.Errorf("deleting a version of %s: %w", name, err)
	}
	return false, b.Delete(ctx, name)
}
