package backup

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/archive"
	"github.com/broletto/broletto/operator/depot"
)

const (
	// ahead is how far in the future a time may be that our clock wrote, before it is taken for wrong.
	ahead = 5 * time.Minute
	// busy is when to ask again while another backup is read back: one at a time is, so that new ones always find room.
	busy = time.Minute
	// hinder is when to ask again what could not be read back.
	hinder = time.Hour
	// roundTime is for how long a page that was read for one backup counts as read for the others of its workspace.
	roundTime = 12 * time.Hour
)

// turn finds whether a backup is to be read back in the present cycle, and else when the next one begins. All backups of a workspace have the same
// cycle, since they share pages; those of different ones are spread over it.
func turn(b *v1alpha1.Backup, every time.Duration, now time.Time) (due bool, next time.Duration) {
	sum := sha256.Sum256([]byte(string(b.Spec.Repository) + "/" + b.Namespace + "/" + string(b.Spec.Workspace)))
	offset := time.Duration(binary.BigEndian.Uint64(sum[:8]) % uint64(every)) //nolint:gosec // it is less than a cycle
	begun := now.Add(-offset).Truncate(every).Add(offset)
	read := b.Status.ReadAt
	if read == nil || read.Before(&metav1.Time{Time: begun}) || read.After(now.Add(ahead)) {
		return true, 0
	}
	return false, begun.Add(every).Sub(now) + time.Second
}

// readAgain reads a backup back when its cycle has come, and says when to look again. A store that does not answer changes no verdict: what was read
// back once is not doubted for that, and the repository tells when it is overdue.
func (r *Backups) readAgain(ctx context.Context, b *v1alpha1.Backup) time.Duration {
	from, _, err := r.Depot.Find(ctx, b.Spec.Repository, b.Namespace)
	if err != nil {
		return hinder // it says so itself
	}
	due, next := turn(b, from.VerifyEvery(), r.Now())
	if !due {
		return next
	}
	if !r.reading.TryLock() {
		return busy + rand.N(4*busy) //nolint:gosec // it is no secret
	}
	defer r.reading.Unlock()
	s := &scope{Backup: b}
	if err = r.open(ctx, s); err == nil {
		err = r.readBack(ctx, s)
	}
	if err != nil {
		depot.Log(ctx, err)
		return hinder
	}
	_, next = turn(b, from.VerifyEvery(), r.Now())
	return next
}

// readBack reads a backup that was verified before, and notes what of it is lost.
func (r *Backups) readBack(ctx context.Context, s *scope) error {
	m, err := s.repository.Read(ctx, string(s.Spec.Workspace), s.Status.Sequence)
	var found archive.Verified
	var lost []archive.Lost
	switch {
	case err == nil && m.Hash.String() != s.Status.Manifest:
		err = archive.ErrDamaged
	case err == nil:
		found, lost, err = s.repository.VerifyIn(ctx, m, r.rounds.of(s, r.Now()))
	}
	if err != nil && !archive.Broken(err) {
		return depot.Unanswered(s.from, err)
	}
	was := len(s.Status.Lost)
	s.Status.Lost = lostNames(lost, err)
	s.Status.ReadAt, s.Status.BytesRead = &metav1.Time{Time: r.Now().Truncate(time.Second)}, found.Bytes
	if now := len(s.Status.Lost); now > was {
		ctrl.LoggerFrom(ctx).Info("a backup that was whole is damaged", "lost", now)
	}
	return nil
}

// lostNames is what a status says of pages, or of a manifest, that cannot be read.
func lostNames(lost []archive.Lost, err error) (out []string) {
	if err != nil {
		out = []string{"the manifest, and with it everything"}
	}
	return append(out, depot.LostNames(lost)...)
}

// rounds are those under way, by repository, tenant and workspace. What is lost with the process is read once more.
type rounds struct {
	lock sync.Mutex
	all  map[string]round
}

type round struct {
	begun time.Time
	*archive.Round
}

// of is the round of a backup's workspace.
func (r *rounds) of(s *scope, now time.Time) *archive.Round {
	r.lock.Lock()
	defer r.lock.Unlock()
	for name, old := range r.all {
		if age := now.Sub(old.begun); age >= roundTime || age < 0 {
			delete(r.all, name)
		}
	}
	name := s.from.Name + "/" + s.Namespace + "/" + string(s.Spec.Workspace)
	if _, is := r.all[name]; !is {
		if r.all == nil {
			r.all = map[string]round{}
		}
		r.all[name] = round{now, &archive.Round{}}
	}
	return r.all[name].Round
}
