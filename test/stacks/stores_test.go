package stacks

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/operator/vault"
	"github.com/broletto/broletto/operator/vault/bucket"
	"github.com/broletto/broletto/operator/vault/postgres"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stores"
)

// What tells a test's process where its operator keeps states; without them, in Secrets.
const (
	storeVariable       = "BROLETTO_TEST_STATE_STORE"
	credentialsVariable = "BROLETTO_TEST_STATE_STORE_CREDENTIALS"
)

// TestStores lives the life of one stack over each other store. A process runs one operator, so each has a process of its own, with a control plane.
func TestStores(t *testing.T) {
	if os.Getenv(storeVariable) != "" {
		return
	}
	t.Run("bucket", func(t *testing.T) {
		t.Parallel()
		g := stores.NewGateway(t)
		elsewhere(t, g.Store(g.Addr, "broletto"), g.Folder)
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		p := stores.NewPostgres(t)
		elsewhere(t, p.Store(p.Addr, "postgres"), p.Folder)
	})
}

func elsewhere(t *testing.T, store *url.URL, credentials string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLife$/^OpenTofu$", "-test.v", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), storeVariable+"="+store.String(), credentialsVariable+"="+credentials)
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestLife/OpenTofu")) {
		t.Errorf("over %s: %v\n%s", store.Scheme, err, out)
	}
}

// states is where the operator of this process keeps them.
func states() (vault.Store, error) {
	address := os.Getenv(storeVariable)
	if address == "" {
		c, err := client.New(cluster.Admin(), client.Options{Scheme: cluster.Scheme()})
		return vault.NewSecrets(c, embedded.Namespace), err
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "s3" {
		return bucket.New(u, os.Getenv(credentialsVariable))
	}
	return postgres.New(u, os.Getenv(credentialsVariable))
}

// wantKept wants that the store has what a stack needs, encrypted, and that nobody else has.
func (w *town) wantKept(s *v1alpha1.Stack) {
	w.Helper()
	names, err := works.states.List(w.Context(), "stack-"+string(s.UID)+".")
	if err != nil || !strings.Contains(strings.Join(names, " "), ".state") {
		w.Errorf("of stack %s are kept %v, without a state: %v", s.Name, names, err)
	}
	for _, name := range names {
		if data, _, err := works.states.Read(w.Context(), name); err == nil && bytes.Contains(data, []byte(canary)) {
			w.Errorf("%s is kept in clear", name)
		}
	}
	if err := w.noSecrets(s); os.Getenv(storeVariable) != "" && err != nil {
		w.Errorf("what is to be kept elsewhere is kept in Secrets, too: %v", err)
	}
}

// wantNothingKept wants that the vault holds nothing of a stack any more.
func (w *town) wantNothingKept(s *v1alpha1.Stack) {
	w.Helper()
	w.until("the vault has forgotten the stack", func() error {
		names, err := works.states.List(w.Context(), "stack-"+string(s.UID))
		if len(names) > 0 {
			err = fmt.Errorf("there are %v", names)
		}
		return errors.Join(err, w.noSecrets(s))
	})
}

func (w *town) noSecrets(s *v1alpha1.Stack) error {
	var secrets corev1.SecretList
	if err := w.admin.List(w.Context(), &secrets, client.InNamespace(embedded.Namespace)); err != nil {
		return err
	}
	for _, secret := range secrets.Items {
		if strings.Contains(fmt.Sprint(secret.Name, secret.Labels, secret.Annotations), string(s.UID)) {
			return errors.New("there is " + secret.Name)
		}
	}
	return nil
}
