package stacks

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/cli/stack"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/test/cluster"
)

// TestVerbs works with a stack as a comune's administrator does, by the plugin's verbs.
func TestVerbs(t *testing.T) {
	t.Parallel()
	w := newTown(t, "verbi")
	s := w.stack("insegna", v1alpha1.OpenTofu, "opentofu")
	s.Spec.Source.Inline = map[string]v1alpha1.SourceText{"main.tf": "resource \"terraform_data\" \"insegna\" { input = \"ciao\" }\n"}
	s.Spec.Variables = nil
	w.create(s)
	kubeconfig := w.kubeconfig(cluster.As("anna", w.name+":ict", "system:authenticated"))

	w.wantRefusal(kubeconfig, "there is no stack nessuna", "logs", "nessuna")
	w.waits(s)
	shown := strings.Join(strings.Fields(w.verb(kubeconfig, "plan", "insegna")), " ")
	w.read(s)
	for _, want := range []string{"1 to add, 0 to change, 0 to destroy", "Create terraform_data.insegna", string(s.Status.Plan.Digest)} {
		if !strings.Contains(shown, want) {
			t.Errorf("plan shows no %q:\n%s", want, shown)
		}
	}
	if s.Status.Replanned == "" {
		t.Error("the plan that was shown is no new one")
	}
	w.wantRefusal(kubeconfig, "the plan that waits is "+string(s.Status.Plan.Digest), "approve", "insegna", "hmac-sha256:"+strings.Repeat("0", 64))
	w.wantRefusal(kubeconfig, "nobody holds its state", "unlock", "insegna", "insegna-1")
	w.verb(kubeconfig, "approve", "insegna", string(s.Status.Plan.Digest))
	w.ready(s)
	w.wantRefusal(kubeconfig, "no plan waits for approval", "approve", "insegna")
	if log := w.verb(kubeconfig, "logs", "insegna"); !strings.Contains(log, "terraform_data.insegna") {
		t.Errorf("the log of the last run tells nothing of it:\n%s", log)
	}
	w.remove(s)
}

// verb runs a verb in the comune's home namespace and returns what it prints.
func (w *town) verb(kubeconfig, name string, args ...string) string {
	w.Helper()
	out, err := w.call(kubeconfig, name, args...)
	if err != nil {
		w.Fatalf("%s %v: %v", name, args, err)
	}
	return out
}

func (w *town) wantRefusal(kubeconfig, want, name string, args ...string) {
	w.Helper()
	if out, err := w.call(kubeconfig, name, args...); err == nil || !strings.Contains(err.Error(), want) {
		w.Errorf("%s %v: %v, want %q\n%s", name, args, err, want, out)
	}
}

func (w *town) call(kubeconfig, name string, args ...string) (string, error) {
	w.Helper()
	for _, command := range stack.Commands() {
		if command.Name() == name {
			var out bytes.Buffer
			command.SetOut(&out)
			command.SetArgs(append(args, "--namespace", w.name, "--kubeconfig", kubeconfig))
			command.SilenceUsage, command.SilenceErrors = true, true
			err := command.ExecuteContext(w.Context())
			return out.String(), err
		}
	}
	w.Fatalf("there is no verb %s", name)
	return "", nil
}

// kubeconfig writes who one is to a file.
func (w *town) kubeconfig(cfg *rest.Config) string {
	w.Helper()
	path := filepath.Join(w.TempDir(), "kubeconfig")
	if err := embedded.WriteKubeconfig(path, cfg, ""); err != nil {
		w.Fatal(err)
	}
	return path
}
