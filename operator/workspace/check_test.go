package workspace

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/outcome"
)

// sound is a tenant, and a workspace of it that asks for nothing that it may not have.
func sound() (*v1alpha1.Workspace, Context) {
	t := &v1alpha1.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: "lugano"},
		Spec: v1alpha1.TenantSpec{
			DataClasses: []v1alpha1.DataClass{"Ordinary", "Critical"}, Domains: []v1alpha1.Hostname{"lugano.example"},
			Quota:          v1alpha1.Quota{"requests.cpu": "10", "requests.storage": "100Gi"},
			StorageClasses: []v1alpha1.StorageClass{{Name: "standard"}, {Name: "encrypted", Quota: "50Gi"}},
		},
	}
	w := &v1alpha1.Workspace{
		ObjectMeta: metav1.ObjectMeta{Namespace: "lugano", Name: "sportello", UID: "own"},
		Spec: v1alpha1.WorkspaceSpec{
			DataClass: "Critical", Quota: v1alpha1.Quota{"requests.cpu": "2", "requests.storage": "10Gi"},
			Network: v1alpha1.WorkspaceNetwork{
				Hosts: []v1alpha1.Hostname{"www.lugano.example"}, Egress: []v1alpha1.Egress{{CIDR: "203.0.113.0/24", Ports: []int32{443}}},
			},
			Storage: &v1alpha1.WorkspaceStorage{Volumes: []v1alpha1.Volume{{Name: "a", Size: "4Gi"}, {Name: "b", Size: "6Gi", Class: "encrypted"}}},
		},
	}
	return w, Context{Tenant: t, Consortium: asShipped}
}

// verdict is the reason of an error that people read, and what they read.
func verdict(err error) (reason, message string) {
	var stall *outcome.Stall
	var wait *outcome.Wait
	switch {
	case errors.As(err, &stall):
		return stall.Reason, stall.Error()
	case errors.As(err, &wait):
		return wait.Reason, wait.Message
	case err != nil:
		return "unclassed", err.Error()
	}
	return "", ""
}

func TestCheck(t *testing.T) {
	cases := map[string]struct {
		reason string
		change func(w *v1alpha1.Workspace, t *v1alpha1.Tenant)
		want   string
		says   []string // the field, the value, and the way out
	}{
		"Sound": {reason: "all is allowed", change: func(*v1alpha1.Workspace, *v1alpha1.Tenant) {}},
		"DataClass": {
			reason: "a class that the tenant may not host", change: func(w *v1alpha1.Workspace, _ *v1alpha1.Tenant) { w.Spec.DataClass = "Strategic" },
			want: v1alpha1.ReasonDataClassNotAllowed, says: []string{"spec.dataClass", "Strategic", "Ordinary, Critical", "ask the platform"},
		},
		"Host": {
			reason: "another's domain", change: func(w *v1alpha1.Workspace, _ *v1alpha1.Tenant) {
				w.Spec.Network.Hosts = append(w.Spec.Network.Hosts, "www.chiasso.example")
			},
			want: v1alpha1.ReasonHostNotAllowed, says: []string{"spec.network.hosts", "www.chiasso.example", "lugano.example"},
		},
		"Egress": {
			reason: "a protected range", change: func(w *v1alpha1.Workspace, _ *v1alpha1.Tenant) { w.Spec.Network.Egress[0].CIDR = "10.96.0.0/12" },
			want: v1alpha1.ReasonEgressProtected, says: []string{"spec.network.egress", "10.96.0.0/12", "10.0.0.0/8", "connectTo"},
		},
		"Class": {
			reason: "a storage class that the tenant may not use", change: func(w *v1alpha1.Workspace, _ *v1alpha1.Tenant) { w.Spec.Storage.Volumes[0].Class = "gold" },
			want: v1alpha1.ReasonStorageClassNotAllowed, says: []string{"spec.storage.volumes", "a", "gold", "standard, encrypted"},
		},
		"VolumesJustFit": {reason: "all of the storage", change: func(w *v1alpha1.Workspace, _ *v1alpha1.Tenant) { w.Spec.Quota["requests.storage"] = "10240Mi" }},
		"VolumesTooLarge": {
			reason: "one mebibyte too much", change: func(w *v1alpha1.Workspace, _ *v1alpha1.Tenant) { w.Spec.Quota["requests.storage"] = "10239Mi" },
			want: v1alpha1.ReasonVolumesExceedQuota, says: []string{"spec.storage.volumes", "10Gi", "10239Mi", "raise spec.quota"},
		},
		"NoVolumes": {reason: "no storage at all", change: func(w *v1alpha1.Workspace, _ *v1alpha1.Tenant) { w.Spec.Storage = nil }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w, c := sound()
			tc.change(w, c.Tenant)
			reason, message := verdict(check(w, c))
			if reason != tc.want {
				t.Errorf("%s: %q (%s), want %q", tc.reason, reason, message, tc.want)
			}
			for _, part := range tc.says {
				if !strings.Contains(message, part) {
					t.Errorf("%s: %q does not say %q", tc.reason, message, part)
				}
			}
		})
	}
}

// TestUnanswerable explains each way in which the ledger may not hold what is asked.
func TestUnanswerable(t *testing.T) {
	cases := map[string]struct {
		reason string
		ledger []v1alpha1.Allocation
		want   [2]string
	}{
		"Undecided": {
			reason: "it would fit, so the ledger will", want: [2]string{v1alpha1.ReasonAwaitingAllocation, "the ledger of tenant lugano has not answered yet"},
		},
		"Quota": {
			reason: "it does not fit", ledger: []v1alpha1.Allocation{{Workspace: "gis", UID: "other", Quota: amounts("requests.cpu", "9")}},
			want: [2]string{v1alpha1.ReasonQuotaExceeded, "tenant lugano has too little left: requests.cpu: 2 asked, 1 of 10 free (held by gis 9); " +
				"ask for less, shrink another workspace, or ask the platform for more"},
		},
		"Host": {
			reason: "another serves the host", ledger: []v1alpha1.Allocation{{Workspace: "gis", UID: "other", Hosts: []v1alpha1.Hostname{"www.lugano.example"}}},
			want: [2]string{v1alpha1.ReasonHostConflict, "spec.network.hosts: www.lugano.example is served by workspace gis; take it out of one of the two"},
		},
		"OwnHost": {
			reason: "one's own host is no conflict", ledger: []v1alpha1.Allocation{{Workspace: "sportello", UID: "own", Hosts: []v1alpha1.Hostname{"www.lugano.example"}}},
			want: [2]string{v1alpha1.ReasonAwaitingAllocation, "the ledger of tenant lugano has not answered yet"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w, c := sound()
			c.Tenant.Status.Allocations = tc.ledger
			reason, message := verdict(unanswerable(w, c.Tenant, w.Spec.Quota.List()))
			if diff := cmp.Diff(tc.want, [2]string{reason, message}); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}
