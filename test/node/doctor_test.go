package node

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
)

// TestDoctor runs "broletto doctor" as a platform engineer does, and shows that tenants are told what it saw: the truth, also when
// nothing enforces network policies any more.
func TestDoctor(t *testing.T) {
	cities(t)
	doctor := filepath.Join(the.programs, "broletto")
	if err := the.build(t.Context(), repository, "./operator/cmd/broletto"); err != nil {
		t.Fatal(err)
	}
	look := func(fit bool, status metav1.ConditionStatus) {
		t.Helper()
		command := exec.CommandContext(t.Context(), doctor, "doctor")
		command.Env = append(os.Environ(), "KUBECONFIG="+the.kubeconfig)
		out, err := command.CombinedOutput()
		if (err == nil) != fit {
			t.Errorf("the doctor finds the cluster fit: %t, want %t; %v\n%s", err == nil, fit, err, out)
		}
		told(t, status)
	}
	defer func() {
		the.order(t, "start", "policy-*")
		look(true, metav1.ConditionTrue)
	}()
	the.order(t, "open")
	look(false, metav1.ConditionFalse)
}

// told waits until a tenant's condition says whether the network enforces policies.
func told(t *testing.T, status metav1.ConditionStatus) {
	t.Helper()
	lugano := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "lugano"}}
	cluster.Eventually(t, time.Minute, fmt.Sprintf("NetworkEnforced of lugano is %s", status), func() error {
		if err := the.admin(t).Get(t.Context(), client.ObjectKeyFromObject(lugano), lugano); err != nil {
			return err
		}
		for _, c := range lugano.Status.Conditions {
			if c.Type == "NetworkEnforced" && c.Status == status {
				return nil
			}
		}
		return fmt.Errorf("it says %v", lugano.Status.Conditions)
	})
}
