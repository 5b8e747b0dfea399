package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
)

// backups backs a workspace of the samples up, deletes what is in it, and brings that back, as the comune would; then it shows what the
// rehearsal of the samples' policy came to.
func (d *demo) backups(ctx context.Context) error {
	if d.store == nil {
		return nil
	}
	fmt.Fprintln(d.Out, "\nBackups: made, read back, restored and rehearsed")
	notice := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: sampleTenant + "--" + sampleWorkspace, Name: "avvisi"}, Data: map[string]string{"lunedi": "sportello chiuso"}}
	if err := client.IgnoreAlreadyExists(d.client.Create(ctx, notice)); err != nil {
		return fmt.Errorf("making ConfigMap avvisi: %w", err)
	}
	if _, err := d.put(ctx, "30-backup"); err != nil {
		return err
	}
	b := &v1alpha1.Backup{ObjectMeta: metav1.ObjectMeta{Namespace: sampleTenant, Name: "prima-del-rilascio"}}
	if err := d.await(ctx, b, func() bool { return condition.True(b, v1alpha1.ConditionReady) }); err != nil {
		return err
	}
	d.tell(b.Namespace+"/"+b.Name, fmt.Sprintf("%d objects, encrypted, %d bytes, all read back from the store; number %d of its workspace", b.Status.Objects, b.Status.Bytes, b.Status.Sequence))
	if err := d.client.Delete(ctx, notice); err != nil {
		return fmt.Errorf("deleting ConfigMap avvisi: %w", err)
	}
	back := &v1alpha1.Restore{ObjectMeta: metav1.ObjectMeta{Namespace: sampleTenant, Name: "indietro-" + time.Now().UTC().Format("20060102-150405")}}
	back.Spec = v1alpha1.RestoreSpec{Backup: b.Name, Into: v1alpha1.RestoreTarget{Workspace: sampleWorkspace}}
	if err := d.client.Create(ctx, back); err != nil {
		return fmt.Errorf("making restore %s: %w", back.Name, err)
	}
	if err := d.await(ctx, back, func() bool { return condition.True(back, v1alpha1.ConditionReady) }); err != nil {
		return err
	}
	if err := d.client.Get(ctx, client.ObjectKeyFromObject(notice), notice); err != nil {
		return fmt.Errorf("ConfigMap avvisi did not come back: %w", err)
	}
	d.tell(back.Namespace+"/"+back.Name, fmt.Sprintf("somebody deletes ConfigMap avvisi; %d object restored, %d are as they were: lunedi: %s", back.Status.Creates, back.Status.Same, notice.Data["lunedi"]))
	beside := &v1alpha1.Restore{ObjectMeta: metav1.ObjectMeta{Namespace: sampleTenant, Name: "confronto"}}
	if err := d.await(ctx, beside, func() bool { return condition.True(beside, v1alpha1.ConditionReady) }); err != nil {
		return err
	}
	d.tell(beside.Namespace+"/"+beside.Name, fmt.Sprintf("%d objects restored into a new workspace: %s", beside.Status.Creates, beside.Status.Namespace))
	return d.drills(ctx)
}

// drills shows what the policy promises and what was measured.
func (d *demo) drills(ctx context.Context) error {
	p := &v1alpha1.BackupPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: sampleTenant, Name: "notturno"}}
	drilled := func() bool {
		for _, w := range p.Status.Workspaces {
			if w.Drill == nil {
				return false
			}
		}
		return len(p.Status.Workspaces) > 0 && condition.True(p, v1alpha1.ConditionReady)
	}
	if err := d.await(ctx, p, drilled); err != nil {
		return err
	}
	if err := d.cleared(ctx); err != nil {
		return err
	}
	for _, w := range p.Status.Workspaces {
		d.tell(p.Namespace+"/"+p.Name, fmt.Sprintf("%s: drilled: restored into a throw-away workspace, compared and removed; %d s, %d bytes read", w.Name, w.Drill.Seconds, w.Drill.BytesRead))
	}
	return nil
}

// cleared waits until nothing is left of the throw-away workspaces, and what they took of the tenant's quota is given back.
func (d *demo) cleared(ctx context.Context) error {
	t := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: sampleTenant}}
	return d.await(ctx, t, func() bool {
		for _, a := range t.Status.Allocations {
			if strings.HasPrefix(string(a.Workspace), "drill-") {
				return false
			}
		}
		return true
	})
}

func (d *demo) tell(what, text string) { fmt.Fprintf(d.Out, "  %-34s %s\n", what, text) }
