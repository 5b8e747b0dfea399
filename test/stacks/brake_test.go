package stacks

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/test/cluster"
)

// brakes is how long a write is held at most: less than the API server waits for us.
const brakes = 8 * time.Second

// brake has the API server hold writes of config maps, so that an engine is still at work when it is killed: else it is over with three of them
// before we hear of the second. It is the test's own; the operator has no webhook.
type brake struct {
	lock sync.Mutex
	held map[string]<-chan struct{} // "CREATE name" or "DELETE name"; closed when whoever writes is dead
}

func newBrake(ctx context.Context) (*brake, error) {
	b := &brake{held: map[string]<-chan struct{}{}}
	server := httptest.NewTLSServer(b) // for as long as the process
	admin, err := client.New(cluster.Admin(), client.Options{Scheme: cluster.Scheme()})
	if err != nil {
		return nil, err
	}
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return b, admin.Create(ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "brake"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "brake.example.org", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &server.URL, CABundle: authority},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Delete},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
			MatchConditions: []admissionregistrationv1.MatchCondition{{Name: "three", Expression: "request.name.matches('-engine-[abc]$')"}},
			FailurePolicy:   new(admissionregistrationv1.Ignore), SideEffects: new(admissionregistrationv1.SideEffectClassNone),
			TimeoutSeconds: new(int32(10)), AdmissionReviewVersions: []string{"v1"},
		}},
	})
}

// hold holds a write until somebody is dead. What a dead one has asked for is refused.
func (b *brake) hold(write string, dead <-chan struct{}) {
	b.lock.Lock()
	defer b.lock.Unlock()
	b.held[write] = dead
}

// ServeHTTP answers the API server.
func (b *brake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(w, "no review", http.StatusBadRequest)
		return
	}
	answer := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	write := string(review.Request.Operation) + " " + review.Request.Name
	b.lock.Lock()
	dead := b.held[write]
	delete(b.held, write) // once: who comes after the dead may
	b.lock.Unlock()
	select {
	case <-dead: // this is somebody else
		dead = nil
	default:
	}
	if dead != nil {
		select {
		case <-dead:
			answer.Allowed = false
		case <-time.After(brakes):
		}
	}
	review.Request, review.Response = nil, answer
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review) // the API server may have given up
}
