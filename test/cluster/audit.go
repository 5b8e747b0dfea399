package cluster

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/hack/kube"
)

// audit is the audit log of the control plane, read once for all tests of the package.
var audit struct {
	sync.Mutex
	marks  int
	offset int64
	events []kube.AuditEvent
}

// marker is who leaves marks.
var marker = sync.OnceValues(func() (client.Client, error) {
	return client.New(As("marker", kube.AdminGroup), client.Options{Scheme: Scheme()})
})

// Mark leaves a request of its own in the audit log and returns where it stands: before it stands all that was answered by now.
func Mark(t testing.TB) (at int) {
	t.Helper()
	c, err := marker()
	if err != nil {
		t.Fatal(err)
	}
	audit.Lock()
	audit.marks++
	key := client.ObjectKey{Namespace: metav1.NamespaceDefault, Name: fmt.Sprintf("mark-%d", audit.marks)}
	audit.Unlock()
	if err := c.Get(t.Context(), key, &corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	Eventually(t, time.Minute, "the audit log has "+key.Name, func() error {
		audit.Lock()
		defer audit.Unlock()
		events, offset, err := kube.ReadAudit(plane.AuditLog(), audit.offset)
		if err != nil {
			return err
		}
		audit.events, audit.offset = append(audit.events, events...), offset
		for at = len(audit.events) - 1; at >= 0; at-- {
			if audit.events[at].Name == key.Name {
				return nil
			}
		}
		return errors.New("it has not")
	})
	return at
}

// Since are the requests of everybody from a mark on that were answered by now; since 0, those from the beginning.
func Since(t testing.TB, mark int) []kube.AuditEvent {
	t.Helper()
	to := Mark(t)
	audit.Lock()
	defer audit.Unlock()
	return slices.Clone(audit.events[mark:to])
}
