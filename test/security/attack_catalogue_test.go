package security

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/acting"
	"github.com/broletto/broletto/operator/service"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestOffered writes a Stack that Broletto made for an instance of a service, and passes others off as such.
func TestOffered(t *testing.T) {
	t.Parallel()
	w := newTown(t, "offered")
	const owned = "labels: {broletto.dev/owner: x}"
	marked := func(name string) string {
		return strings.Replace(called(name, stackText), "namespace: HOME", "namespace: HOME, "+owned, 1)
	}
	made, own := w.make(cluster.Operator(t), marked("albo")), w.make(w.administrator(), called("own", stackText))
	attacks := map[string]attack{}
	for _, change := range []string{
		"metadata: {labels: {broletto.dev/owner: null}}", "metadata: {labels: {broletto.dev/owner: other}}", "metadata: {labels: null}", "metadata: {annotations: {eve: was-here}}",
		"spec: {source: {inline: {main.tf: '# theirs'}}}", "spec: {approval: Automatic}", "spec: {approvedPlan: '" + digest + "'}", "spec: {variables: {ente: altro}}",
	} {
		add(attacks, change, "it is as its offering says", "only Broletto writes and deletes it", w.forms(made, change))
	}
	add(attacks, "deletion", "the instance would lose it", "only Broletto writes and deletes it", deletions(made))
	add(attacks, "passed off", "the operator would take it for its own", "only Broletto writes and deletes it", w.forms(own, "metadata: {labels: {broletto.dev/owner: x}}"))
	add(attacks, "passed off", "the operator would take it for its own", "only Broletto writes and deletes it", map[string]stage.Request{"create": stage.Making(w.read(marked("eve")))})
	for _, who := range []string{"administrator", "tool"} {
		w.suffers(who, w.identities()[who], attacks, made, own)
	}
	w.suffers("cluster administrator", cluster.ClusterAdmin(), attacks, made, own)
	w.suffersAll(attacks, made, own)
}

// offered is an offering's spec, but for its consortium.
const offered = "consortium: x, version: 1.0.0, dataClasses: [Ordinary], procurement: {authority: provincia, state: Awarded, awardedOn: '2018-10-01'}, " +
	"parameters: {type: object, required: [ente], properties: {ente: {type: string, minLength: 2, maxLength: 5}, lingua: {type: string, enum: [it, de]}, repliche: {type: integer, minimum: 1, maximum: 3}}}, " +
	"provisions: {manifests: [{apiVersion: v1, kind: ConfigMap, metadata: {name: albo}, data: {ente: '${ente}'}}]}"

// offerings has the stage's operator look at offerings, too.
func offerings(s *stage.Stage) {
	parts := s.Parts()
	s.Join(&v1alpha1.ServiceOffering{}, &v1alpha1.ServiceOfferingList{}, reconcile.AsReconciler(parts.Client, &service.Offerings{Client: parts.Client}))
}

// TestParameters has instances say what their offering does not let them, and people loosen what it lets.
func TestParameters(t *testing.T) {
	t.Parallel()
	w := newTown(t, "parameters")
	offerings(w.Stage)
	w.make(cluster.Admin(), "{apiVersion: broletto.dev/v1alpha1, kind: ServiceOffering, metadata: {name: PREFIX-albo}, spec: {"+strings.Replace(offered, "consortium: x", "consortium: PREFIX-c", 1)+"}}")
	offering := &v1alpha1.ServiceOffering{}
	offering.Name = w.ID("albo")
	w.CaughtUp(offering)
	w.Ready(offering)
	instance := func(parameters string) client.Object {
		return w.read("{apiVersion: broletto.dev/v1alpha1, kind: ServiceInstance, metadata: {name: albo, namespace: HOME}, spec: {offering: PREFIX-albo, workspace: sito, parameters: {" + parameters + "}}}")
	}
	rows := map[string]string{
		"ente: si, lingua: it, repliche: 3": "",
		"lingua: it":                        "ente is missing",
		"ente: s":                           "ente has at least 2 characters",
		"ente: sindaco":                     "ente has at most 5 characters",
		"ente: 12":                          "ente is of another type, it is a text",
		"ente: si, lingua: fr":              "lingua is one of it, de",
		"ente: si, repliche: 4":             "repliche is at most 3",
		"ente: si, repliche: 0":             "repliche is at least 1",
		"ente: si, repliche: 1.5":           "repliche is of another type",
		"ente: si, image: eve":              "image is not known",
		"ente: {a: b}":                      "ente is of another type, it is a text",
	}
	for who, cfg := range map[string]client.Client{"administrator": cluster.Client(t, w.administrator()), "cluster administrator": cluster.Client(t, cluster.ClusterAdmin())} {
		cluster.Eventually(t, stage.Patience, "the API server works by the rules", func() error {
			return wrong(cfg.Create(t.Context(), instance("ente: s"), client.DryRunAll), "ente has")
		})
		for parameters, want := range rows {
			if err := wrong(cfg.Create(t.Context(), instance(parameters), client.DryRunAll), want); err != nil {
				t.Errorf("%s: {%s}: %v", who, parameters, err)
			}
		}
	}
	target := instance("ente: si")
	if err := cluster.Client(t, w.administrator()).Create(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	w.loosens(offering, target)
}

// loosens writes what an instance may not say into one that is there, the offering's rules, and the word of the operator.
func (w *town) loosens(offering *v1alpha1.ServiceOffering, target client.Object) {
	w.Helper()
	said := map[string]attack{}
	add(said, "too long", "it was right when it was made", "ente has at most 5 characters", w.forms(target, "spec: {parameters: {ente: sindaco}}"))
	add(said, "unknown", "it was right when it was made", "image is not known", w.forms(target, "spec: {parameters: {image: eve}}"))
	w.suffers("administrator", w.administrator(), said, target)
	rules := map[string]attack{}
	add(rules, "status of an instance", "the operator's word", onlyTheOperator, formsOf(w.forms(target, "status: {version: 9.9.9}", "status"), "status"))
	add(rules, "status of an offering", "the rules are in it", onlyTheOperator, formsOf(w.forms(offering, "status: {rules: null}", "status"), "status"))
	w.suffers("cluster administrator", cluster.ClusterAdmin(), rules, target, offering)
	add(rules, "offering", "it is the consortium's", "", w.forms(offering, "spec: {parameters: {type: object}}"))
	add(rules, "offering", "it is the consortium's", "", deletions(offering))
	w.suffersAll(rules, target, offering)
}

// wrong is nil where the answer says that an object is invalid as wanted, or it passes where nothing is wanted.
func wrong(err error, want string) error {
	switch {
	case want == "":
		return err
	case !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want):
		return fmt.Errorf("want it to be called invalid by %q, got: %w", want, err)
	}
	return nil
}

// TestServiceAccount compares the account by which instances of services write in a workspace with the workspace's editors: it has what they have.
func TestServiceAccount(t *testing.T) {
	t.Parallel()
	w := newTown(t, "acting")
	operator := cluster.Operator(t)
	w.make(operator, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: "+acting.Service.Name()+", namespace: SITE, labels: {broletto.dev/owner: x}}}")
	w.make(operator, "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: "+acting.Service.Name()+", namespace: SITE, labels: {broletto.dev/owner: x}}, "+
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: broletto-workspace-edit}, subjects: [{kind: ServiceAccount, name: "+acting.Service.Name()+", namespace: SITE}]}")
	account, member := w.asking("account", w.token(cluster.Admin(), acting.Service.Name())), w.asking("member", w.member())
	var questions []question
	for _, s := range w.scopes()[:4] {
		for _, x := range w.everything() {
			for _, verb := range x.verbs {
				if x.path == "" && x.in(s.namespace) {
					questions = append(questions, question{account, s, x, verb}, question{member, s, x, verb})
				}
			}
		}
	}
	may := map[string]map[string]bool{"account": {}, "member": {}}
	for _, q := range w.granted(questions) {
		may[q.who.name][q.act()] = true
	}
	if diff := cmp.Diff(may["member"], may["account"]); diff != "" || len(may["account"]) < 50 {
		t.Errorf("what the account may and a member may not (+), and the reverse (-), of %d:\n%s", len(may["account"]), diff)
	}
}

// TestActingAccounts tries to become one of the accounts as which the operator acts in a workspace: by a token, in a pod, by another's pod.
func TestActingAccounts(t *testing.T) {
	t.Parallel()
	w := newTown(t, "become")
	for _, a := range []acting.Account{acting.Service, acting.Backup} {
		name := a.Name()
		account := w.make(cluster.Operator(t), "{apiVersion: v1, kind: ServiceAccount, metadata: {name: "+name+", namespace: SITE, labels: {broletto.dev/owner: x}}}")
		token := asksFor(w.site.TargetNamespace(), name, authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(600))})
		attacks := map[string]attack{"token": {"it acts as the account", token, "is Broletto's"}}
		for _, who := range []*rest.Config{w.administrator(), cluster.ClusterAdmin(), cluster.Account(w, w.own.Name, "flux")} {
			w.suffers("who may ask for tokens", who, attacks, account)
		}
		w.try(w.administrator(), map[string]rule{
			name:                podRule("its token is in the pod", "serviceAccountName: "+name, "would act as "+name),
			name + ", old form": podRule("by the field that was once", "serviceAccount: "+name, "would act as "+name),
		})
		w.noPods(w.make(w.administrator(), "{apiVersion: batch/v1, kind: Job, metadata: {name: late-"+name+", namespace: SITE}, "+
			"spec: {template: {metadata: {labels: {job: late}}, spec: {restartPolicy: Never, serviceAccountName: "+name+", POD}}}}"))
		attacks["token"] = attack{"it acts as the account", token, ""}
		for who, cfg := range w.identities() {
			w.suffers(who, cfg, attacks, account)
		}
	}
}
