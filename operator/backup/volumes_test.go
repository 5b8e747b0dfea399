package backup

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/volumes"
)

// TestReaders: a volume that no pod uses is read as the pod that used it last, and nobody else's word counts.
func TestReaders(t *testing.T) {
	t.Parallel()
	of := v1alpha1.BackupSpec{Workspace: "w", Repository: "r"}
	backup := func(sequence int64, spec v1alpha1.BackupSpec, moves ...v1alpha1.VolumeMove) v1alpha1.Backup {
		return v1alpha1.Backup{Spec: spec, Status: v1alpha1.BackupStatus{Sequence: sequence, Volumes: moves}}
	}
	move := func(name string, phase v1alpha1.VolumePhase, id int64) v1alpha1.VolumeMove {
		return v1alpha1.VolumeMove{Name: name, Phase: phase, User: id, Group: id + 1, FSGroup: id + 2}
	}
	backups := []v1alpha1.Backup{
		backup(2, of, move("dati", v1alpha1.VolumeDone, 200), move("uso", v1alpha1.VolumeDone, 200)),
		backup(1, of, move("dati", v1alpha1.VolumeDone, 100), move("vecchio", v1alpha1.VolumeDone, 100)),
		backup(3, of, move("dati", v1alpha1.VolumeFailed, 300)),
		backup(4, v1alpha1.BackupSpec{Workspace: "x", Repository: "r"}, move("dati", v1alpha1.VolumeDone, 400)),
		backup(5, v1alpha1.BackupSpec{Workspace: "w", Repository: "s"}, move("dati", v1alpha1.VolumeDone, 500)),
		backup(6, of, move("dati", v1alpha1.VolumeDone, 0)),
	}
	claim := func(name string, id int64, pods ...string) volumes.Claim {
		return volumes.Claim{Name: name, Pods: pods, User: id, Group: id + 1, FSGroup: id + 2}
	}
	got := []volumes.Claim{claim("dati", 1), claim("nuovo", 1), claim("uso", 1, "db-0"), claim("vecchio", 1)}
	readers(got, backups, of)
	want := []volumes.Claim{claim("dati", 200), claim("nuovo", 1), claim("uso", 1, "db-0"), claim("vecchio", 100)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
