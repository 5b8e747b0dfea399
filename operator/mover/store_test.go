package mover

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/broletto/broletto/operator/move"
	"github.com/broletto/broletto/test/stores"
)

// gateway is one store for all tests of it, each under a prefix of its own.
type gateway struct{ *stores.Gateway }

// store is a place in the gateway.
func (g *gateway) store(t *testing.T) move.Store {
	t.Helper()
	account, err := g.Account()
	if err != nil {
		t.Fatal(err)
	}
	return move.Store{Endpoint: "http://" + g.Addr, Region: "us-east-1", Bucket: g.Bucket, Prefix: t.Name() + "/", AccessKey: account.ID, SecretKey: account.Secret}
}

// between puts something between a store and its clients.
func between(t *testing.T, s move.Store, what func(http.Handler, http.ResponseWriter, *http.Request)) move.Store {
	t.Helper()
	to, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	next := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host }, // it is signed
		Transport:    &http.Transport{DisableKeepAlives: true},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { what(next, w, r) }))
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	s.Endpoint = server.URL
	return s
}

// isPut tells whether a request writes a pack.
func isPut(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.HasPrefix(filepath.Base(r.URL.Path), "p")
}

func TestBucket(t *testing.T) {
	t.Parallel()
	g := &gateway{stores.NewGateway(t)}
	for name, f := range map[string]func(*testing.T, *gateway){
		"restore": bucketRestore, "busy": busy, "denied": denied, "truncated": truncated, "stalled": stalled, "silent": silent,
		"interrupted": interrupted, "killed": killed, "deadline": deadline, "race": race, "lock": lock, "clock": clock,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, g)
		})
	}
}

// bucketRestore fetches each pack at most twice, though the cache has room for three of them.
func bucketRestore(t *testing.T, g *gateway) {
	store, dir := g.store(t), t.TempDir()
	for i := range 120 {
		write(t, filepath.Join(dir, string('a'+rune(i%7)), string('a'+rune(i))), noise(i, 1<<20))
	}
	b := backup(t, store, dir)
	o := order(t, store, move.Restore)
	o.Path, o.Snapshots, o.CacheBytes = t.TempDir(), []string{b.Snapshot}, 64<<20
	r := run(t, o)
	same(t, dir, o.Path)
	if r.Requests.Packs < 6 || r.Requests.MaxGets > 2 {
		t.Errorf("%d packs were read, one of them %d times", r.Requests.Packs, r.Requests.MaxGets)
	}
	v := order(t, store, move.Verify)
	v.CacheBytes = 64 << 20
	if r := run(t, v); r.Requests.Received < 120<<20 || r.Requests.MaxGets > 2 || r.Bytes != 120<<20 || r.StoreTime.IsZero() {
		t.Errorf("verified: %+v", r)
	}
	if left, _ := filepath.Glob(filepath.Join(o.Cache, "*")); len(left) != 0 {
		t.Errorf("the cache was left behind: %v", left)
	}
}

// busy has the store refuse every third request in some way that passes, or break off.
func busy(t *testing.T, g *gateway) {
	var n atomic.Int32
	store := between(t, g.store(t), func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) % 12 {
		case 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 6:
			w.WriteHeader(http.StatusInternalServerError)
		case 9:
			panic(http.ErrAbortHandler)
		default:
			next.ServeHTTP(w, r)
		}
	})
	dir := sample(t)
	b := backup(t, store, dir)
	back, _ := restore(t, store, b.Snapshot)
	same(t, dir, back)
	if n.Load() < 30 {
		t.Errorf("%d requests cannot have met all faults", n.Load())
	}
}

// denied are wrong credentials, a wrong password and a wrong place. None of the secrets is told.
func denied(t *testing.T, g *gateway) {
	store, dir := g.store(t), t.TempDir()
	write(t, filepath.Join(dir, "f"), []byte("x"))
	o := order(t, store, move.Backup)
	o.Path, o.Store.SecretKey = dir, "falso-falsissimo"
	r := fails(t, o, move.FailureDenied)
	if strings.Contains(r.Failure.Message, o.Store.SecretKey) {
		t.Errorf("the secret is told: %s", r.Failure.Message)
	}
	fails(t, order(t, store, move.Verify), move.FailureOrder) // there is no repository
	b := backup(t, store, dir)
	o = order(t, store, move.Restore)
	o.Path, o.Snapshots, o.Password = t.TempDir(), []string{b.Snapshot}, "un'altra password lunga"
	if r := fails(t, o, move.FailureDenied); strings.Contains(r.Failure.Message, o.Password) {
		t.Errorf("the password is told: %s", r.Failure.Message)
	}
	o.Password, o.Snapshots = password, []string{strings.Repeat("0", 32)}
	fails(t, o, move.FailureOrder)
	o.Store.Bucket = "altrove"
	fails(t, o, move.FailureStore)
	o = order(t, store, move.Backup)
	o.Path, o.Store.Endpoint = dir, "http://127.0.0.1:1"
	fails(t, o, move.FailureStore)
}

// truncated has the store break off packs in the middle. A verification says that the store does, and not that what it has is damaged, unless one pack
// alone is never given, and one as long is.
func truncated(t *testing.T, g *gateway) {
	dir := t.TempDir()
	var last move.Report
	for i, name := range []string{"a", "b", "c"} { // a pack for each
		write(t, filepath.Join(dir, name), noise(i, (2+i)<<20))
		last = backup(t, g.store(t), dir)
	}
	var packs []string // the shortest first
	for o := range g.Client(t).ListObjectsIter(t.Context(), g.Bucket, minio.ListObjectsOptions{Prefix: t.Name() + "/p"}) {
		packs = append(packs, fmt.Sprintf("%012d %s", o.Size, filepath.Base(o.Key)))
	}
	slices.Sort(packs)
	if len(packs) != 3 {
		t.Fatalf("the packs are %v", packs)
	}
	for name, c := range map[string]struct {
		reason  string
		pack    string // begins so
		always  bool
		want    move.Class // none: it is whole
		entries int64
	}{
		"all":         {"the way breaks off what is long", "p", true, move.FailureStore, 0},
		"the longest": {"so may this be", packs[2][13:], true, move.FailureStore, 0},
		"one":         {"longer ones are given", packs[0][13:], true, move.FailureDamaged, 1},
		"for a while": {"it is asked for again", packs[0][13:], false, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int32
			store := between(t, g.store(t), func(next http.Handler, w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet && strings.HasPrefix(filepath.Base(r.URL.Path), c.pack) && (n.Add(1) <= attempts || c.always) {
					w = &half{ResponseWriter: w}
				}
				next.ServeHTTP(w, r)
			})
			store.Prefix = filepath.Dir(t.Name()) + "/"
			m := Mover{pause: func(context.Context, int) error { return nil }}
			r := m.Run(t.Context(), order(t, store, move.Verify))
			if got := cmp.Or(r.Failure, &move.Failure{}).Class; got != c.want || r.Failed != c.entries || n.Load() == 0 {
				t.Errorf("%s: %d entries are damaged: %+v %v", c.reason, r.Failed, r.Failure, r.Problems)
			}
			o := order(t, store, move.Restore)
			o.Path, o.Snapshots = t.TempDir(), []string{last.Snapshot}
			if r := m.Run(t.Context(), o); (r.Failure != nil) != c.always {
				t.Errorf("%s: restored: %+v", c.reason, r)
			}
		})
	}
}

// half sends half of what is first written, and no more.
type half struct {
	http.ResponseWriter
	over bool
}

func (h *half) Write(p []byte) (int, error) {
	if !h.over {
		h.over = true
		if _, err := h.ResponseWriter.Write(p[:len(p)/2]); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// stalled has the store take packs and say nothing.
func stalled(t *testing.T, g *gateway) {
	end := make(chan struct{})
	store := between(t, g.store(t), func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if isPut(r) {
			_, _ = io.Copy(io.Discard, r.Body)
			select {
			case <-end:
			case <-r.Context().Done():
			}
			return
		}
		next.ServeHTTP(w, r)
	})
	t.Cleanup(func() { close(end) })
	o := order(t, store, move.Backup)
	o.Path, o.StallSeconds = sample(t), 2
	begun := time.Now()
	r := fails(t, o, move.FailureStalled)
	if r.Snapshot != "" || time.Since(begun) > time.Minute {
		t.Errorf("after %s: %+v", time.Since(begun), r)
	}
}

// silent is a store that stops within an answer: the request is ended and made again.
func silent(t *testing.T, _ *gateway) {
	var n atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = w.Write([]byte("12345"))
		w.(http.Flusher).Flush()
		if n.Add(1) < 3 {
			<-r.Context().Done()
			return
		}
		_, _ = w.Write([]byte("67890"))
	}))
	defer server.Close()
	client := &http.Client{Transport: transport{RoundTripper: http.DefaultTransport, meter: newMeter(), patience: time.Second}}
	for attempt := 1; ; attempt++ {
		var text []byte
		response, err := client.Get(server.URL)
		if err == nil {
			text, err = io.ReadAll(response.Body)
			_ = response.Body.Close()
		}
		if attempt < 3 {
			if !errors.Is(err, errSilent) {
				t.Fatalf("attempt %d: %v", attempt, err)
			}
			continue
		}
		if err != nil || string(text) != "1234567890" {
			t.Errorf("%q %v", text, err)
		}
		return
	}
}

// slowPuts has each pack take a while.
func slowPuts(t *testing.T, s move.Store, d time.Duration) move.Store {
	return between(t, s, func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if isPut(r) {
			time.Sleep(d)
		}
		next.ServeHTTP(w, r)
	})
}

// interrupted is a backup that is told to end. The next goes on from there.
func interrupted(t *testing.T, g *gateway) {
	dir := t.TempDir()
	for i := range 80 {
		write(t, filepath.Join(dir, string('a'+rune(i))), noise(1000+i, 1<<20))
	}
	o := order(t, slowPuts(t, g.store(t), 300*time.Millisecond), move.Backup)
	o.Path = dir
	ctx, cancel := newCause(t)
	m := Mover{TellEvery: 20 * time.Millisecond, Tell: func(p move.Progress) {
		if p.Bytes > 45<<20 {
			cancel()
		}
	}}
	r := m.Run(ctx, o)
	if r.Failure == nil || r.Failure.Class != move.FailureInterrupted || r.Snapshot != "" {
		t.Fatalf("interrupted: %+v", r)
	}
	again := backup(t, g.store(t), dir)
	if sum := r.Requests.Sent + again.Requests.Sent; r.Requests.Sent < 20<<20 || sum > 95<<20 {
		t.Errorf("%d and then %d bytes were sent of %d", r.Requests.Sent, again.Requests.Sent, again.Bytes)
	}
	back, _ := restore(t, g.store(t), again.Snapshot)
	same(t, dir, back)
}

// killed is a mover that ends without notice. The next does not send again what was sent before a checkpoint.
func killed(t *testing.T, g *gateway) {
	dir := t.TempDir()
	for i := range 140 {
		write(t, filepath.Join(dir, fmt.Sprintf("%03d", i)), noise(4000+i, 1<<20))
	}
	var packs atomic.Int32
	enough := make(chan struct{})
	store := between(t, g.store(t), func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if isPut(r) {
			if packs.Add(1) == 6 {
				close(enough)
			}
			time.Sleep(time.Second)
		}
		next.ServeHTTP(w, r)
	})
	o := order(t, store, move.Backup)
	o.Path, o.CheckpointSeconds = dir, 1
	cmd := process(t, o, 0)
	var said bytes.Buffer
	cmd.Stdout = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-enough
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if said.Len() > 0 {
		t.Fatalf("it had ended: %s", &said)
	}
	r := backup(t, g.store(t), dir)
	if r.Requests.Sent > 125<<20 {
		t.Errorf("%d bytes were sent again of %d", r.Requests.Sent, r.Bytes)
	}
	t.Logf("%d bytes were sent again of %d", r.Requests.Sent, r.Bytes)
	back, _ := restore(t, g.store(t), r.Snapshot)
	same(t, dir, back)
}

// deadline ends a backup that takes too long.
func deadline(t *testing.T, g *gateway) {
	dir := t.TempDir()
	for i := range 60 {
		write(t, filepath.Join(dir, string('a'+rune(i))), noise(2000+i, 1<<20))
	}
	o := order(t, slowPuts(t, g.store(t), 3*time.Second), move.Backup)
	o.Path, o.Deadline = dir, time.Now().Add(2*time.Second)
	fails(t, o, move.FailureDeadline)
}

// race has several movers begin the same repository at once, as on the first night of a tenant.
func race(t *testing.T, g *gateway) {
	store := g.store(t)
	var dirs []string
	for i := range 4 {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "f"), noise(3000+i, 100<<10))
		dirs = append(dirs, dir)
	}
	reports := make([]move.Report, len(dirs))
	var all sync.WaitGroup
	for i, dir := range dirs {
		o := order(t, store, move.Backup)
		o.Path, o.Source.Workspace = dir, string('a'+rune(i))
		all.Go(func() { reports[i] = Mover{}.Run(t.Context(), o) })
	}
	all.Wait()
	for i, r := range reports {
		if r.Failure != nil {
			t.Fatalf("%+v", r.Failure)
		}
		back, _ := restore(t, store, r.Snapshot)
		same(t, dirs[i], back)
	}
	if v := run(t, order(t, store, move.Verify)); v.Files != 4 {
		t.Errorf("verified: %+v", v)
	}
}

// lock has the store refuse to delete what was backed up.
func lock(t *testing.T, g *gateway) {
	ctx, client := t.Context(), g.Client(t)
	const name = "lucchetto"
	g.NewLockedBucket(t, name)
	store, dir := g.store(t), sample(t)
	store.Bucket = name
	o := order(t, store, move.Backup)
	o.Path, o.LockDays = dir, 2
	b := run(t, o)
	locks := func() (first time.Time) {
		t.Helper()
		for object := range client.ListObjects(ctx, name, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
			id := filepath.Base(object.Key)
			info, err := client.StatObject(ctx, name, object.Key, minio.StatObjectOptions{VersionID: object.VersionID})
			if object.IsDeleteMarker {
				continue
			}
			until, _ := time.Parse(time.RFC3339, info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"))
			locked := err == nil && info.Metadata.Get("X-Amz-Object-Lock-Mode") == "COMPLIANCE" && time.Until(until) > 47*time.Hour
			if want := strings.ContainsAny(id[:1], "pqx") || strings.HasPrefix(id, "kopia.repository"); want && !locked {
				t.Errorf("%s is not locked: %v", id, err)
			} else if want && (first.IsZero() || until.Before(first)) {
				first = until
			}
			if !locked {
				continue
			}
			err = client.RemoveObject(ctx, name, object.Key, minio.RemoveObjectOptions{VersionID: object.VersionID})
			if err == nil {
				t.Errorf("%s was deleted under its lock", id)
			}
		}
		return first
	}
	before := locks()
	o = order(t, store, move.Maintain)
	o.LockDays = 5
	m := run(t, o)
	if after := locks(); m.Locked < 4 || after.Sub(before) < 60*time.Hour {
		t.Errorf("%d locks were prolonged, to %s from %s", m.Locked, after, before)
	}
	back, _ := restore(t, store, b.Snapshot)
	same(t, dir, back)
}

// clock is a store whose clock is not ours: its time counts.
func clock(t *testing.T, g *gateway) {
	store := between(t, g.store(t), func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&dated{w, time.Now().Add(2 * time.Hour)}, r)
	})
	o := order(t, store, move.Backup)
	o.Path = sample(t)
	s := &session{order: o, meter: newMeter(), progress: &progress{}, redact: newRedactor(o)}
	if err := errors.Join(o.Complete(), s.connect(t.Context())); err != nil {
		t.Fatal(err)
	}
	_, _ = s.store.GetMetadata(t.Context(), "x")
	if off := s.meter.now().Sub(time.Now().Add(2 * time.Hour)).Abs(); off > 5*time.Second {
		t.Errorf("the time is %s off the store's", off)
	}
}

type dated struct {
	http.ResponseWriter
	time time.Time
}

func (d *dated) WriteHeader(code int) {
	d.Header().Set("Date", d.time.UTC().Format(http.TimeFormat))
	d.ResponseWriter.WriteHeader(code)
}

func TestFolderIsFull(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, 4<<20)
	o := order(t, move.Store{Folder: dir}, move.Backup)
	o.Path, o.StallSeconds = t.TempDir(), 2
	write(t, filepath.Join(o.Path, "f"), noise(7, 30<<20))
	r := Mover{}.Run(t.Context(), o)
	if r.Failure == nil || r.Snapshot != "" || r.Failure.Class != move.FailureStalled && r.Failure.Class != move.FailureSpace {
		t.Errorf("a full store: %+v", r)
	}
	if err := os.Remove(filepath.Join(o.Path, "f")); err != nil {
		t.Fatal(err)
	}
}
