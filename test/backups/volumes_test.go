package backups

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/minio-go/v7"
	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/move"
	"github.com/broletto/broletto/test/stage"
)

// TestVolumes: what volumes hold is backed up and comes back, in place and elsewhere, and what movers meet is told.
func TestVolumes(t *testing.T) {
	t.Parallel()
	s := newScene(t, "vols", locked)
	k := newKubelet(s, false)
	folder := k.volume("documenti")
	files := map[string]string{"atti/delibera-1.txt": "segretissimo", "città/bilancio.csv": "a;b\n", "vuoto": ""}
	write(t, folder, files)
	if err := os.Symlink("/etc/passwd", filepath.Join(folder, "fuori")); err != nil {
		t.Fatal(err)
	}
	b := s.backUp("prima")
	wantVolume(t, b.Status.Volumes, "documenti Done")
	if v := b.Status.Volumes[0]; v.Snapshot == "" || v.Bytes != 16 || v.Files != 4 || v.Attempt != 1 {
		t.Errorf("its volume is %+v", v)
	}
	if got := stage.Condition(b, v1alpha1.ConditionWhole); !strings.HasPrefix(got, "True") {
		t.Errorf("Whole is %s; left out is %v", got, b.Status.LeftOut)
	}
	for name, content := range s.content("salvataggi") {
		if strings.Contains(string(content), "segretissimo") || strings.Contains(name, "delibera") {
			t.Errorf("%s tells what is backed up", name)
		}
	}
	k.noMovers(t)
	if err := os.Remove(filepath.Join(folder, "fuori")); err != nil { // WalkDir would follow it in what follows
		t.Fatal(err)
	}

	t.Run("into another workspace", func(t *testing.T) {
		s := s.on(t)
		there := k.bind(s.tenant.Name+"--copia", "documenti")
		r := s.bring(s.comune, "copia", "prima", func(r *v1alpha1.Restore) { r.Spec.Into = v1alpha1.RestoreTarget{NewWorkspace: "copia"} })
		s.Ready(r)
		wantVolume(t, r.Status.Volumes, "documenti Done")
		if link, err := os.Readlink(filepath.Join(there, "fuori")); err != nil || link != "/etc/passwd" {
			t.Errorf("the link leads to %q: %v", link, err)
		}
		if err := os.Remove(filepath.Join(there, "fuori")); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(files, read(t, there)); diff != "" {
			t.Errorf("what came back (-want +got):\n%s", diff)
		}
		k.noMovers(t)
	})
	t.Run("in place", func(t *testing.T) {
		s := s.on(t)
		write(t, folder, map[string]string{"vuoto": "no more", "nuovo": "of today"})
		r := s.bring(s.comune, "salta", "prima")
		s.Ready(r)
		wantVolume(t, r.Status.Volumes, "documenti Skipped")
		if got := read(t, folder)["vuoto"]; got != "no more" {
			t.Errorf("what was to stay is %q", got)
		}
		plan := s.bring(s.comune, "prova", "prima", func(r *v1alpha1.Restore) {
			r.Spec.Into.Conflicts, r.Spec.Mode = v1alpha1.ConflictsReplace, v1alpha1.RestoreDryRun
		})
		s.Ready(plan)
		wantVolume(t, plan.Status.Volumes, "documenti Waiting")
		stage.Edit(s.Stage, plan, func(r *v1alpha1.Restore) { r.Spec.Mode = v1alpha1.RestoreApply })
		s.Ready(plan)
		wantVolume(t, plan.Status.Volumes, "documenti Done")
		got := read(t, folder)
		if got["vuoto"] != "" || got["nuovo"] != "of today" {
			t.Errorf("it is %q", got)
		}
		k.noMovers(t)
	})
	t.Run("a drill", func(t *testing.T) {
		s := s.on(t)
		k.provide("drill", nil)
		k.while(func(*move.Order) bool { return false }, func() {
			p := s.policy("notturno", func(p *v1alpha1.BackupPolicy) { p.Spec.Drill = &v1alpha1.Drill{EveryDays: 30} })
			s.Until("the drill is over", func() error {
				if s.Read(p); len(p.Status.Workspaces) != 1 || p.Status.Workspaces[0].Drill == nil {
					return fmt.Errorf("the policy says %+v", p.Status)
				}
				return nil
			})
			if d := p.Status.Workspaces[0].Drill; !*d.Passed {
				t.Errorf("it came to %+v", d)
			}
			if i := slices.IndexFunc(k.ran(), func(o move.Order) bool { return o.Operation == move.Restore }); i < 0 || !k.ran()[i].Compare {
				t.Errorf("what was restored was not compared: %+v", k.ran())
			}
			if err := s.comune.Delete(t.Context(), p); err != nil {
				t.Error(err)
			}
			s.Gone(p)
		})
		k.noMovers(t)
	})
	t.Run("a mover that dies", func(t *testing.T) {
		s := s.on(t)
		k.while(func(o *move.Order) bool { return len(k.seen)%2 == 1 }, func() {
			b := k.made(t, s.ask("ripresa"))
			wantVolume(t, b.Status.Volumes, "documenti Done")
		})
		dead := func(*move.Order) bool { return true }
		k.while(dead, func() {
			b := k.made(t, s.ask("senza"))
			wantVolume(t, b.Status.Volumes, "documenti Failed")
			if got := stage.Condition(b, v1alpha1.ConditionWhole); !strings.HasPrefix(got, "False LeftOut") || len(b.Status.LeftOut) != 1 {
				t.Errorf("Whole is %s, left out is %v", got, b.Status.LeftOut)
			}
			if v := b.Status.Volumes[0]; v.Attempt != 3 || !strings.Contains(v.Message, "without a word") {
				t.Errorf("its volume is %+v", v)
			}
		})
		k.noMovers(t)
	})
	t.Run("a backup that is deleted meanwhile", func(t *testing.T) {
		s := s.on(t)
		var b *v1alpha1.Backup
		k.while(func(*move.Order) bool {
			if err := s.comune.Delete(t.Context(), b); err != nil {
				t.Error(err)
			}
			return true
		}, func() {
			b = s.ask("pentita")
			s.Gone(b)
		})
		k.noMovers(t)
	})
}

// while runs f with a kubelet that spoils what movers do.
func (k *kubelet) while(spoil func(*move.Order) bool, f func()) {
	set := func(spoil func(*move.Order) bool) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.spoil, k.seen = spoil, nil
	}
	set(spoil)
	defer set(nil)
	f()
}

// made waits until a backup is Ready, while minutes go by before another mover is tried.
func (k *kubelet) made(t *testing.T, b *v1alpha1.Backup) *v1alpha1.Backup {
	t.Helper()
	s := k.on(t)
	s.Until(b.Name+" is Ready", func() error {
		s.Read(b)
		s.hurry(b.Status.Volumes)
		if !condition.True(b, v1alpha1.ConditionReady) {
			return fmt.Errorf("it is %s; volumes %+v", stage.Condition(b, v1alpha1.ConditionReady), b.Status.Volumes)
		}
		return nil
	})
	return b
}

// noMovers checks that no Job is left.
func (k *kubelet) noMovers(t *testing.T) {
	t.Helper()
	k.on(t).Until("no mover is left", func() error {
		var jobs batchv1.JobList
		if err := k.Admin.List(t.Context(), &jobs, client.HasLabels{v1alpha1.LabelRun}); err != nil {
			return err
		}
		for _, j := range jobs.Items {
			if strings.HasPrefix(j.Namespace, k.tenant.Name+"--") {
				return fmt.Errorf("Job %s is", j.Name)
			}
		}
		return nil
	})
}

// wantVolume compares volumes, each by its name and phase.
func wantVolume(t *testing.T, got []v1alpha1.VolumeMove, want ...string) {
	t.Helper()
	var all []string
	for _, v := range got {
		all = append(all, v.Name+" "+string(v.Phase))
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("volumes (-want +got):\n%s\n%+v", diff, got)
	}
}

// TestVolumesLookedAfter: what no backup needs is forgotten, everything is read back on a cycle, and damage begins a new generation.
func TestVolumesLookedAfter(t *testing.T) {
	t.Parallel()
	s := newScene(t, "upkeep")
	k := newKubelet(s, true)
	folder := k.volume("documenti")
	write(t, folder, map[string]string{"atto": strings.Repeat("delibera ", 1000)})
	first := k.made(t, s.ask("prima"))
	write(t, folder, map[string]string{"atto": strings.Repeat("determina ", 1000)})
	k.made(t, s.ask("seconda"))
	upkeep := func(what string, want func(u v1alpha1.VolumeUpkeep) bool) v1alpha1.VolumeUpkeep {
		t.Helper()
		var found v1alpha1.VolumeUpkeep
		s.Until(what, func() error {
			s.Read(s.repository)
			for _, u := range s.repository.Status.Volumes {
				if u.Mover == nil && want(u) {
					found = u
					return nil
				}
			}
			text, err := json.Marshal(s.repository.Status.Volumes)
			return errors.Join(err, fmt.Errorf("it says %s", text))
		})
		return found
	}
	u := upkeep("volumes are read back", func(u v1alpha1.VolumeUpkeep) bool { return u.MaintainedAt != nil && u.VerifiedAt != nil })
	if u.Tenant != s.tenant.Name || u.Generation != 1 || u.BytesRead == 0 || u.Damaged+u.Failed != "" {
		t.Errorf("it says %+v", u)
	}
	done := map[move.Operation]bool{}
	for _, o := range k.ran() {
		done[o.Operation] = true
		if keep := first.Status.Volumes[0].Snapshot; o.Operation == move.Maintain && (!o.Others || !slices.Contains(o.Keep, keep)) {
			t.Errorf("all but %v was to be forgotten, and a backup has %s", o.Keep, keep)
		}
	}
	if !done[move.Maintain] || !done[move.Verify] {
		t.Errorf("movers did %v", done)
	}

	c := s.gateway.Client(t) // the store loses what it has
	for name := range names(t.Context(), s, "salvataggi") {
		if strings.Contains(name, "/volumes/1/p") {
			if err := c.RemoveObject(t.Context(), "salvataggi", name, minio.RemoveObjectOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	third := k.made(t, s.ask("terza"))
	wantVolume(t, third.Status.Volumes, "documenti Done")
	if g := third.Status.Volumes[0].Generation; g != 2 {
		t.Errorf("it is in generation %d: %+v", g, third.Status.Volumes)
	}
	s.At(s.Now().Add(8 * 24 * time.Hour))
	upkeep("damage is told", func(u v1alpha1.VolumeUpkeep) bool { return u.Generation == 1 && u.Damaged != "" })
	upkeep("the new generation is whole", func(u v1alpha1.VolumeUpkeep) bool { return u.Generation == 2 && u.VerifiedAt != nil && u.Damaged == "" })
	if got := stage.Condition(s.repository, v1alpha1.ConditionVolumesIntact); !strings.HasPrefix(got, "False Damaged") {
		t.Errorf("VolumesIntact is %s", got)
	}
	there := k.bind(s.tenant.Name+"--copia", "documenti")
	r := s.bring(s.comune, "copia", "terza", func(r *v1alpha1.Restore) { r.Spec.Into = v1alpha1.RestoreTarget{NewWorkspace: "copia"} })
	s.Until("it is restored", func() error {
		if s.Read(r); !condition.True(r, v1alpha1.ConditionReady) {
			return fmt.Errorf("it is %s; volumes %+v", stage.Condition(r, v1alpha1.ConditionReady), r.Status.Volumes)
		}
		return nil
	})
	if diff := cmp.Diff(read(t, folder), read(t, there)); diff != "" {
		t.Errorf("what came back (-want +got):\n%s", diff)
	}
}

// ran are the orders that movers had.
func (k *kubelet) ran() []move.Order {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.seen)
}
