package service_test

import (
	"fmt"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/service"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// everyRule is a schema with every keyword that rules express.
const everyRule = `
type: object
required: [ente]
properties:
  ente: {type: string, minLength: 2, maxLength: 6, pattern: "^[a-zà-ù]+$"}
  lingua: {type: string, enum: [it, de]}
  repliche: {type: integer, minimum: 1, maximum: 3}
  livello: {type: integer, enum: [1, 5]}
  soglia: {type: number, minimum: -0.5, maximum: 1.5}
  pubblico: {type: boolean}
  argomenti: {type: array, items: {type: string}, minItems: 1, maxItems: 2}
`

// parameterRows are parameters, and what is wrong with them.
var parameterRows = map[string]string{
	`{ente: "varese"}`: "",
	`{ente: "città"}`:  "",
	`{ente: va, lingua: it, repliche: 3, livello: 5, soglia: 1.5, pubblico: false, argomenti: [a]}`: "",
	`{ente: va, soglia: 1}`:            "",
	`{ente: va, soglia: -0.5}`:         "",
	`{}`:                               "ente is missing, it is a text",
	`{ente: 1}`:                        "ente is of another type, it is a text",
	`{ente: null}`:                     "ente is missing, it is a text",
	`{ente: v}`:                        "ente has at least 2 characters",
	`{ente: varesina}`:                 "ente has at most 6 characters",
	`{ente: VA}`:                       "ente matches ^[a-zà-ù]+$",
	`{ente: va, lingua: fr}`:           "lingua is one of it, de",
	`{ente: va, repliche: 0}`:          "repliche is at least 1",
	`{ente: va, repliche: 4}`:          "repliche is at most 3",
	`{ente: va, repliche: 1.5}`:        "repliche is of another type, it is a whole number",
	`{ente: va, repliche: 1e300}`:      "repliche is of another type, it is a whole number",
	`{ente: va, repliche: "2"}`:        "repliche is of another type, it is a whole number",
	`{ente: va, livello: 2}`:           "livello is one of 1, 5",
	`{ente: va, soglia: -0.51}`:        "soglia is at least -0.5",
	`{ente: va, soglia: 1.51}`:         "soglia is at most 1.5",
	`{ente: va, pubblico: "true"}`:     "pubblico is of another type, it is true or false",
	`{ente: va, argomenti: []}`:        "argomenti has at least 1 items",
	`{ente: va, argomenti: [a, b, c]}`: "argomenti has at most 2 items",
	`{ente: va, argomenti: a}`:         "argomenti is of another type, it is a list",
	`{ente: va, altro: 1}`:             "altro is not known, the service has argomenti, ente, lingua, livello, pubblico, repliche, soglia",
	`{repliche: 9, altro: 1}`:          "repliche is at most 3; ente is missing, it is a text; altro is not known, the service has argomenti, ente, lingua, livello, pubblico, repliche, soglia",
}

// TestParameters: what an instance says is checked when it is written, by the API server, in the words in which the operator checks it again.
func TestParameters(t *testing.T) {
	t.Parallel()
	s := newScene(t, "parameters")
	o := s.offer("albo", func(o *v1alpha1.ServiceOffering) { o.Spec.Parameters = raw(s, everyRule) })
	bare := s.offer("bare", func(o *v1alpha1.ServiceOffering) { o.Spec.Parameters = nil; manifests(s)(o) })
	s.Ready(o, bare)
	schema, err := service.ParseSchema(raw(s, everyRule))
	if err != nil {
		t.Fatal(err)
	}
	anna := client.NewDryRunClient(cluster.Client(t, cluster.As("anna", stage.Group(s.tenant.Name, "ict"))))
	write := func(offering, text string) error {
		i := &v1alpha1.ServiceInstance{ObjectMeta: stage.In(s.tenant.Name, "albo")}
		i.Spec = v1alpha1.ServiceInstanceSpec{Offering: v1alpha1.OfferingName(offering), Workspace: "sito", Parameters: parametersOf(s, text)}
		return anna.Create(t.Context(), i)
	}
	cluster.Eventually(t, stage.Patience, "the API server works by the rules", func() error {
		if err := write(o.Name, `{ente: v}`); err == nil {
			return fmt.Errorf("it lets a wrong one pass")
		}
		return nil
	})
	for text, want := range parameterRows {
		_, wrong := schema.Complete(parametersOf(s, text))
		if got := strings.Join(wrong, "; "); got != want {
			t.Errorf("%s, the operator: %q, want %q", text, got, want)
		}
		err := write(o.Name, text)
		if want == "" && err != nil {
			t.Errorf("%s, the API server: %v", text, err)
		}
		if want != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "denied request: spec.parameters: "+want)) {
			t.Errorf("%s, the API server: %v, want %q", text, err, want)
		}
	}
	if err := write(bare.Name, `{ente: va}`); err == nil || !strings.Contains(err.Error(), "ente is not known, the service has no parameters") {
		t.Errorf("a service without parameters: %v", err)
	}
	if err := write("no-such-offering", `{ente: 1}`); err != nil {
		t.Errorf("an offering that is not there is the operator's to tell of: %v", err)
	}
}

// TestWhatWasRightStaysWritable: an offering that has changed keeps nobody from writing what says nothing new, and the instance says so.
func TestWhatWasRightStaysWritable(t *testing.T) {
	t.Parallel()
	s := newScene(t, "stays")
	o := s.offer("albo")
	i := s.ask(o, "albo")
	s.Ready(o, i)
	stage.Edit(s.Stage, o, func(o *v1alpha1.ServiceOffering) {
		o.Spec.Version = "2.0.0"
		o.Spec.Parameters = raw(s, strings.ReplaceAll(parameters, "maxLength: 20", "maxLength: 5"))
	})
	if message := s.Await(i, v1alpha1.ConditionStalled, v1alpha1.ReasonParametersRefused); message != "spec.parameters: ente has at most 5 characters" {
		t.Error(message)
	}
	stage.Edit(s.Stage, i, func(i *v1alpha1.ServiceInstance) { i.Spec.Quantity = 2 })
	s.Remove(i)
	s.Gone(i)
}

func parametersOf(s scene, text string) map[string]apiextensionsv1.JSON {
	s.Helper()
	out := map[string]apiextensionsv1.JSON{}
	if err := jsonInto(raw(s, text).Raw, &out); err != nil {
		s.Fatal(err)
	}
	return out
}
