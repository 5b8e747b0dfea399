package security

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/config"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

const manual = "../../docs/guard.md"

// example is a manifest in the manual, who sends it and how, and what the API server answered.
var example = regexp.MustCompile("(?s)```yaml ?([a-z-]*)\n(.*?)```\n```text\n(.*?)```\n")

// TestManual sends every manifest of docs/guard.md, without effect, and wants the answer that stands below it.
func TestManual(t *testing.T) {
	s := stage.New(t, "manual")
	hostTicino(s)
	offerAlbo(s)
	employ(s)
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	got := example.ReplaceAllStringFunc(string(text), func(block string) string {
		examples++
		parts := example.FindStringSubmatch(block)
		how, manifest, want := parts[1], parts[2], parts[3]
		answer := ask(s, how, manifest)
		if answer != want && !*update {
			t.Errorf("docs/guard.md says of\n%sthat the answer is\n%swhich is\n%s(-update writes it)", manifest, want, answer)
		}
		return strings.Replace(block, "```text\n"+want, "```text\n"+answer, 1)
	})
	if examples < 25 {
		t.Errorf("docs/guard.md has %d examples: were they not found?", examples)
	}
	for _, policy := range policies(t) {
		if !strings.Contains(got, "`"+policy+"`") {
			t.Errorf("docs/guard.md does not name policy %s", policy)
		}
	}
	if *update {
		if err := os.WriteFile(manual, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// ask sends a manifest as Lugano's administrator, or as the cluster's, and returns the refusal as people see it, broken into lines.
func ask(s *stage.Stage, how, manifest string) string {
	s.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &o.Object); err != nil {
		s.Fatalf("%s: %v", manifest, err)
	}
	who := cluster.As("anna", "lugano:ict")
	switch how {
	case "cluster-admin":
		who = cluster.ClusterAdmin()
	case "writer":
		who = cluster.As("paolo")
	}
	c := cluster.Client(s, who)
	var err error
	switch how {
	case "update":
		err = c.Patch(s.Context(), o, raw(s.T, types.MergePatchType, o.DeepCopy().Object), client.DryRunAll)
	case "requester":
		if err = s.Admin.Create(s.Context(), o.DeepCopy()); err == nil {
			err = c.Patch(s.Context(), o, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"broletto.dev/requester":"system:admin"}}}`)), client.DryRunAll)
		}
	case "token":
		account := &corev1.ServiceAccount{ObjectMeta: stage.In(o.GetNamespace(), o.GetName())}
		life, _, _ := unstructured.NestedFloat64(o.Object, "spec", "expirationSeconds")
		err = c.SubResource("token").Create(s.Context(), account, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(life))}})
	case "exec":
		err = (&town{Stage: s}).connect(who, http.MethodPost, o, "exec")
	default:
		err = c.Create(s.Context(), o, client.DryRunAll)
	}
	if err == nil {
		return "it passes\n"
	}
	return folded(err.Error())
}

// folded breaks a text into lines of at most 140 characters.
func folded(text string) string {
	var out strings.Builder
	width := 0
	for word := range strings.FieldsSeq(text) {
		if width > 0 && width+1+len(word) > 140 {
			out.WriteString("\n")
			width = 0
		} else if width > 0 {
			out.WriteString(" ")
			width++
		}
		out.WriteString(word)
		width += len(word)
	}
	return out.String() + "\n"
}

// policies are the names of those that ship.
func policies(t *testing.T) (names []string) {
	t.Helper()
	files, err := config.Policies.ReadDir("policies")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if file.Name() != "kustomization.yaml" {
			names = append(names, "broletto-"+strings.TrimSuffix(file.Name(), ".yaml"))
		}
	}
	return names
}

// hostTicino hosts the sample as it stands.
func hostTicino(s *stage.Stage) {
	s.Helper()
	var all []condition.Object
	for _, step := range []string{"00-consortium", "10-tenants", "20-workspaces"} {
		text, err := config.Samples.ReadFile("samples/ticino/" + step + ".yaml")
		if err != nil {
			s.Fatal(err)
		}
		documents, err := embedded.Documents(text)
		if err != nil {
			s.Fatal(err)
		}
		for _, d := range documents {
			var o condition.Object
			switch d.GetKind() {
			case "Consortium":
				o = &v1alpha1.Consortium{}
			case "Tenant":
				o = &v1alpha1.Tenant{}
			case "Workspace":
				o = &v1alpha1.Workspace{}
			default:
				continue
			}
			if err := s.Admin.Apply(s.Context(), client.ApplyConfigurationFromUnstructured(d), client.FieldOwner(cluster.FieldManager)); err != nil {
				s.Fatal(err)
			}
			o.SetName(d.GetName())
			o.SetNamespace(d.GetNamespace())
			s.CaughtUp(o)
			all = append(all, o)
		}
		cluster.Eventually(s, stage.Patience, step+" is Ready", func() error { return ready(s, all) })
	}
}

// offerAlbo has the catalogue offer what the manual's instance asks for, with the rules that the operator makes of its schema.
func offerAlbo(s *stage.Stage) {
	s.Helper()
	text, err := config.Samples.ReadFile("samples/varese/30-catalogue.yaml")
	if err != nil {
		s.Fatal(err)
	}
	documents, err := embedded.Documents(text)
	if err != nil {
		s.Fatal(err)
	}
	offer := documents[0]
	if err := errors.Join(unstructured.SetNestedField(offer.Object, "ticino", "spec", "consortium"), s.Admin.Create(s.Context(), offer)); err != nil {
		s.Fatal(err)
	}
	offering := &v1alpha1.ServiceOffering{}
	offering.Name = offer.GetName()
	offerings(s)
	s.CaughtUp(offering)
	cluster.Eventually(s, stage.Patience, "the offering is Ready", func() error { return ready(s, []condition.Object{offering}) })
	cluster.Eventually(s, stage.Patience, "the API server works by its rules", func() error {
		if answer := ask(s, "", albo); answer == "it passes\n" {
			return errNotYet
		}
		return nil
	})
}

// albo is an instance that says what its offering does not know.
const albo = `{apiVersion: broletto.dev/v1alpha1, kind: ServiceInstance, metadata: {name: albo, namespace: lugano}, spec: {offering: albo-pretorio, workspace: sportello, parameters: {altro: 1}}}`

// employ lets Paolo write Lugano's stacks, and not approve, and makes accounts that have the names of a stack's and of Broletto's own.
func employ(s *stage.Stage) {
	s.Helper()
	cluster.Apply(s, s.Admin, []byte(`
{apiVersion: v1, kind: ServiceAccount, metadata: {name: stack-rete, namespace: lugano--sportello}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: broletto-backup, namespace: lugano--sportello}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: stacks, namespace: lugano}
rules: [{apiGroups: [broletto.dev], resources: [stacks], verbs: [get, list, watch, create, update, patch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: stacks, namespace: lugano}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: stacks}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: paolo}]
`))
	stack := `{apiVersion: broletto.dev/v1alpha1, kind: Stack, metadata: {name: prova, namespace: lugano}, spec: {workspace: sportello, engine: OpenTofu, source: {inline: {main.tf: '# nothing'}}}}`
	cluster.Eventually(s, stage.Patience, "Paolo may write stacks", func() error {
		if answer := ask(s, "writer", stack); answer != "it passes\n" {
			return errors.New(answer)
		}
		return nil
	})
}

// ready looks at every object once and names one that is not Ready.
func ready(s *stage.Stage, all []condition.Object) (waiting error) {
	for _, o := range all {
		if _, err := s.Reconcile(o); err != nil {
			return err
		}
		if s.Read(o); !condition.True(o, v1alpha1.ConditionReady) {
			waiting = fmt.Errorf("%s: %s", o.GetName(), stage.Conditions(o))
		}
	}
	return waiting
}
