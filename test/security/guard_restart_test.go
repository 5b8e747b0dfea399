package security

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/guard"
	"github.com/broletto/broletto/operator/workspace"
	"github.com/broletto/broletto/test/cluster"
)

// TestRestart stops the API server and starts it anew on the same data, while somebody asks for what is refused without a pause. From its
// first answer on it judges, or refuses; it never lets pass.
func TestRestart(t *testing.T) {
	t.Parallel()
	f := newFortress(t)
	platform := cluster.Client(t, f.as(kube.AdminUser, kube.AdminGroup, guard.PlatformGroup))
	managed := namespaceNamed("lugano")
	managed.Labels = map[string]string{v1alpha1.LabelTenant: "lugano"}
	if err := platform.Create(t.Context(), managed); err != nil {
		t.Fatal(err)
	}
	url, cfg := f.plane.URL(), f.as(kube.AdminUser, kube.AdminGroup)
	if err := f.plane.Stop(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan siege, 1)
	go func() { ended <- besiege(ctx, cfg) }()
	f.begin()
	if f.plane.URL() != url {
		t.Fatalf("it listens at %s, not at %s", f.plane.URL(), url)
	}
	time.Sleep(time.Second)
	stop()
	s := <-ended
	t.Logf("%d unanswered, %d refused, %d refused by a policy, %d completed by one", s.unanswered, s.refused, s.judged, s.completed)
	if s.judged == 0 || s.completed == 0 {
		t.Error("the siege ended before the policies judged")
	}
	for _, passed := range s.passed {
		t.Errorf("it let pass: %s", passed)
	}
	f.judges()
}

// siege is what became of the requests during a restart.
type siege struct {
	unanswered, refused, judged, completed int
	passed                                 []string
}

func besiege(ctx context.Context, cfg *rest.Config) (s siege) {
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout = 15 * time.Second
	transport, err := rest.HTTPClientFor(cfg)
	if err != nil {
		s.passed = append(s.passed, err.Error())
		return s
	}
	attacks := map[string]string{
		"/api/v1/namespaces/lugano": `{"metadata":{"labels":{"broletto.dev/tenant":null}}}`,
		"/api/v1/namespaces":        `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"fake","labels":{"broletto.dev/tenant":"lugano"}}}`,
		"/api/v1/namespaces/lugano/secrets": `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"t","annotations":{"kubernetes.io/service-account.name":"default"}},` +
			`"type":"kubernetes.io/service-account-token"}`,
		"/apis/networking.k8s.io/v1/namespaces/lugano/ingresses": `{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"i"},"spec":{"rules":[{"host":"www.bellinzona.example"}]}}`,
	}
	const workspaces = "/apis/broletto.dev/v1alpha1/namespaces/default/workspaces"
	attacks[workspaces+"?dryRun=All"] = `{"apiVersion":"broletto.dev/v1alpha1","kind":"Workspace","metadata":{"name":"w"},"spec":{"environment":"Test","dataClass":"Ordinary","personalData":false}}`
	for ctx.Err() == nil {
		for path, body := range attacks {
			method, kind := http.MethodPost, "application/json"
			if strings.HasSuffix(path, "/lugano") {
				method, kind = http.MethodPatch, "application/merge-patch+json"
			}
			request, err := http.NewRequest(method, cfg.Host+path, strings.NewReader(body)) // what is under way when the siege ends counts
			if err != nil {
				s.passed = append(s.passed, err.Error())
				continue
			}
			request.Header.Set("Content-Type", kind)
			s.count(transport, request)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return s
}

func (s *siege) count(transport *http.Client, request *http.Request) {
	response, err := transport.Do(request)
	if err != nil {
		s.unanswered++
		return
	}
	defer func() { _ = response.Body.Close() }()
	said, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		s.unanswered++
	case response.StatusCode < 300 && strings.Contains(string(said), workspace.Finalizer): // it may be made, but not without
		s.completed++
	case response.StatusCode < 300:
		s.passed = append(s.passed, request.Method+" "+request.URL.Path)
	case strings.Contains(string(said), "ValidatingAdmissionPolicy 'broletto-"):
		s.judged++
	default:
		s.refused++
	}
}
