package security

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/stage"
)

// answer is how long the API server may take to say something to whatever it is sent. The machine may be busy.
const answer = 20 * time.Second

// send sends bytes as they are and returns the status and what was said.
func (w *town) send(who *rest.Config, method, path, contentType string, body []byte) (int, string) {
	w.Helper()
	c, err := rest.HTTPClientFor(who)
	if err != nil {
		w.Fatal(err)
	}
	c.Timeout = answer
	request, err := http.NewRequestWithContext(w.Context(), method, who.Host+path, bytes.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	response, err := c.Do(request)
	if err != nil {
		w.Errorf("no answer to %.80q: %v", body, err)
		return 0, ""
	}
	defer func() { _ = response.Body.Close() }()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		w.Error(err)
	}
	return response.StatusCode, string(said)
}

// odd is the JSON of a Workspace's spec or metadata that nobody in their right mind would write.
func odd() map[string]string {
	spec := func(fields string) string {
		return `"metadata":{"name":"odd"},"spec":{"environment":"Test","dataClass":"Ordinary","personalData":false,` + fields + `}`
	}
	meta := func(fields string) string {
		return `"metadata":{"name":"odd",` + fields + `},"spec":{"environment":"Test","dataClass":"Ordinary","personalData":false}`
	}
	out := map[string]string{
		"deep nesting":        spec(`"quota":` + strings.Repeat("[", 50000) + strings.Repeat("]", 50000)),
		"deep objects":        spec(`"quota":` + strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000)),
		"huge annotation":     meta(`"annotations":{"a":"` + strings.Repeat("x", 300<<10) + `"}`),
		"2 MiB":               meta(`"annotations":{"a":"` + strings.Repeat("x", 2<<20) + `"}`),
		"4 MiB":               meta(`"annotations":{"a":"` + strings.Repeat("x", 4<<20) + `"}`),
		"huge label":          meta(`"labels":{"a":"` + strings.Repeat("x", 1000) + `"}`),
		"label of the guard":  meta(`"labels":{"broletto.dev/\u0000":"x"}`),
		"huge name":           `"metadata":{"name":"` + strings.Repeat("o", 10000) + `"},"spec":{}`,
		"huge host":           spec(`"network":{"exposure":"Internet","hosts":["` + strings.Repeat("a.", 5000) + `b"]}`),
		"many hosts":          spec(`"network":{"exposure":"Internet","hosts":[` + strings.Repeat(`"a.b",`, 40) + `"a.c"]}`),
		"host, backtracking":  spec(`"network":{"exposure":"Internet","hosts":["` + strings.Repeat("a-", 120) + `!"]}`),
		"host, line feed":     spec(`"network":{"exposure":"Internet","hosts":["a.example\nb.example"]}`),
		"host, blank":         spec(`"network":{"exposure":"Internet","hosts":["a.example b.example"]}`),
		"host, NUL":           spec(`"network":{"exposure":"Internet","hosts":["a.example\u0000"]}`),
		"subject, blank":      spec(`"access":[{"role":"View","kind":"Group","name":"a Group:b"}]`),
		"subject, line feed":  spec(`"access":[{"role":"View","kind":"Group","name":"a\nb"}]`),
		"subject of system":   spec(`"access":[{"role":"Admin","kind":"Group","name":"system:authenticated"}]`),
		"display name":        spec(`"displayName":"\u202egnp.exe"`),
		"display name, bytes": spec("\"displayName\":\"\xff\xfe\x00\""),
		"null access":         spec(`"access":[null]`),
		"null spec":           `"metadata":{"name":"odd"},"spec":null`,
		"null metadata":       `"metadata":null,"spec":{}`,
		"list for a map":      spec(`"quota":["requests.cpu"]`),
		"map for a list":      spec(`"access":{"role":"View"}`),
		"number for a name":   `"metadata":{"name":7},"spec":{}`,
		"unknown, nested":     spec(`"storage":{"volumes":[{"name":"v","size":"1Gi","mountPath":"/etc"}]}`),
		"time, huge":          spec(`"expiresAt":"99999-01-01T00:00:00Z"`),
		"time, none":          spec(`"expiresAt":"2027-02-30T00:00:00Z"`),
		"time, duration":      spec(`"expiresAt":"999999999h"`),
		"time, list":          spec(`"expiresAt":["2027-06-30T00:00:00Z"]`),
		"CIDR, mapped":        spec(`"network":{"egress":[{"cidr":"::ffff:169.254.169.254/128","ports":[80]}]}`),
		"CIDR, zone":          spec(`"network":{"egress":[{"cidr":"fe80::1%eth0/64","ports":[80]}]}`),
		"CIDR, octal":         spec(`"network":{"egress":[{"cidr":"0251.0376.0251.0376/32","ports":[80]}]}`),
		"CIDR, negative":      spec(`"network":{"egress":[{"cidr":"10.0.0.0/-1","ports":[80]}]}`),
		"port, huge":          spec(`"network":{"egress":[{"cidr":"192.0.2.0/24","ports":[4294967376]}]}`),
		"port, fraction":      spec(`"network":{"egress":[{"cidr":"192.0.2.0/24","ports":[80.5]}]}`),
	}
	for _, amount := range []string{`"1e1000"`, `"-5Gi"`, `"9223372036854775808"`, `"9Ei"`, `"NaN"`, `""`, `"１Gi"`, `"1Gi "`, `"0x10"`, `"1e3"`, `"+1"`, `".5"`, `"1.0000001"`, `5`, `null`, `[]`, `"` + strings.Repeat("9", 10000) + `"`} {
		out["quota "+fmt.Sprintf("%.20s", amount)] = spec(`"quota":{"requests.memory":` + amount + `}`)
		out["volume "+fmt.Sprintf("%.20s", amount)] = spec(`"storage":{"volumes":[{"name":"v","size":` + amount + `}]}`)
	}
	return out
}

// TestOddInput sends what parsers stumble over. The API server answers, and then the operator, the guard and every list of the kind go on.
func TestOddInput(t *testing.T) {
	t.Parallel()
	w := newTown(t, "odd")
	path := "/apis/broletto.dev/v1alpha1/namespaces/" + w.own.Name + "/workspaces"
	stored := 0
	for name, fields := range odd() {
		code, said := w.send(w.administrator(), http.MethodPost, path+"?fieldValidation=Ignore", "application/json", []byte(`{"apiVersion":"broletto.dev/v1alpha1","kind":"Workspace",`+fields+`}`))
		switch {
		case code >= 200 && code < 300: // what is odd, but means something
			stored++
			t.Logf("stored: %s", name)
			w.sound()
			o := &v1alpha1.Workspace{ObjectMeta: stage.In(w.own.Name, "odd")}
			stage.Edit(w.Stage, o, func(o *v1alpha1.Workspace) { o.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
			w.Remove(o)
			w.Gone(o)
		case code < 400 || code >= 500:
			t.Errorf("%s: %d %.300s", name, code, said)
		}
	}
	if stored > 6 {
		t.Errorf("%d of what is odd was stored", stored)
	}
	w.patches(path + "/annesso")
	w.schedules()
	w.sound()
	w.judges()
}

// patches are odd ones of a Workspace that is there.
func (w *town) patches(path string) {
	w.Helper()
	const merge, operations, apply = "application/merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml"
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for level := 'b'; level < 'k'; level++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", level, level, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", level-1), 9), ","))
	}
	for name, row := range map[string]struct{ kind, body string }{
		"billion laughs":      {apply, bomb},
		"YAML, nested":        {apply, strings.Repeat("[", 20000)},
		"YAML, bytes":         {apply, "\xff\xfe\x00"},
		"many operations":     {operations, "[" + strings.Repeat(`{"op":"test","path":"/kind","value":"Workspace"},`, 10001) + `{"op":"remove","path":"/spec"}]`},
		"copies":              {operations, "[" + `{"op":"add","path":"/metadata/annotations","value":{"a":"` + strings.Repeat("x", 10000) + `"}},` + strings.TrimSuffix(strings.Repeat(`{"op":"copy","from":"/metadata","path":"/metadata/annotations/b"},`, 5000), ",") + "]"},
		"to itself":           {operations, `[{"op":"move","from":"/spec","path":"/spec/quota"}]`},
		"the whole":           {operations, `[{"op":"replace","path":"","value":null}]`},
		"no path":             {operations, `[{"op":"remove"}]`},
		"another kind":        {merge, `{"kind":"Tenant"}`},
		"another name":        {merge, `{"metadata":{"name":"other"}}`},
		"another UID":         {merge, `{"metadata":{"uid":"00000000-0000-0000-0000-000000000001"}}`},
		"another age":         {merge, `{"metadata":{"creationTimestamp":"1970-01-01T00:00:00Z"},"spec":{"quota":{"pods":"99999"}}}`},
		"nothing":             {merge, ``},
		"null":                {merge, `null`},
		"an unknown language": {"application/vnd.kubernetes.protobuf", "k8s\x00\xff\xff\xff\xff"},
		"CBOR":                {"application/apply-patch+cbor", "\xd9\xd9\xf7\xbb\xff\xff\xff\xff\xff\xff\xff\xff"},
	} {
		code, said := w.send(w.administrator(), http.MethodPatch, path+"?fieldManager=eve", row.kind, []byte(row.body))
		if code < 200 || code >= 500 {
			w.Errorf("patch of %s: %d %.300s", name, code, said)
		}
	}
}

// schedules are those on which parsers of cron panic, or which come never or at every moment.
func (w *town) schedules() {
	w.Helper()
	job := `{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"odd"},"spec":{"suspend":true,"schedule":%q,"timeZone":%s,"jobTemplate":{"spec":{"template":{"spec":` +
		`{"restartPolicy":"Never","containers":[{"name":"app","image":"registry.example/app:1"}],"securityContext":{"runAsNonRoot":true}}}}}}}`
	path := "/apis/batch/v1/namespaces/" + w.site.TargetNamespace() + "/cronjobs?dryRun=All"
	for _, schedule := range []string{"TZ=0", "TZ=", "CRON_TZ=", "CRON_TZ= * * * * *", "TZ=0 * * * * *", "0 0 30 2 *", "@every 1ns", "@every -1h", "*/0 * * * *", "0-9999999999 * * * *", "* * * * * *", "@", "", strings.Repeat("*,", 50000) + "* * * * *", "\x00"} {
		for _, zone := range []string{"null", `""`, `"Local"`, `"../../etc/passwd"`, `"0"`, `"Europe/Rome"`} {
			if code, said := w.send(w.administrator(), http.MethodPost, path, "application/json", fmt.Appendf(nil, job, schedule, zone)); code < 200 || code >= 500 {
				w.Errorf("schedule %.40q in %s: %d %.200s", schedule, zone, code, said)
			}
		}
	}
}

// sound wants that every list of our kinds is read, and that the operator goes on, without having panicked.
func (w *town) sound() {
	w.Helper()
	for _, list := range []client.ObjectList{&v1alpha1.WorkspaceList{}, &v1alpha1.TenantList{}, &v1alpha1.ConsortiumList{}, &corev1.NamespaceList{}} {
		if err := w.Admin.List(w.Context(), list); err != nil {
			w.Errorf("%T: %v", list, err)
		}
	}
	w.Rest()
}

// judges wants that the guard answers by its rules, and not by a failure, what is odd and what is not.
func (w *town) judges() {
	w.Helper()
	const deployment = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: SITE}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {%s, POD}}}}"
	ingress := func(rest string) string {
		return "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: SITE, " + rest + "}"
	}
	rules := map[string]rule{}
	for _, spec := range []string{
		"affinity: {}", "affinity: {podAffinity: {}, podAntiAffinity: {}}", "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: []}}", "affinity: {nodeAffinity: {}}",
		"tolerations: []", "volumes: []", "volumes: [{name: v}]", "volumes: [{name: v, emptyDir: {}}]", "initContainers: []", "nodeSelector: {}", "priorityClassName: ''",
		"affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: z, namespaces: []}}]}}",
	} {
		rules[spec] = rule{"it is empty, not odd", fmt.Sprintf(deployment, spec), ""}
	}
	maps.Copy(rules, map[string]rule{
		"no http":          {"a rule of a host alone", ingress("annotations: {}}, spec: {rules: [{host: www.OWN.example}], tls: []}"), ""},
		"empty annotation": {"no host is not every host", ingress("annotations: {external-dns.alpha.kubernetes.io/hostname: ''}}, spec: {rules: [{host: www.OWN.example}]}"), "is not this workspace's to serve"},
		"only commas":      {"no host is not every host", ingress("annotations: {nginx.ingress.kubernetes.io/server-alias: ',,,'}}, spec: {rules: [{host: www.OWN.example}]}"), "is not this workspace's to serve"},
		"many rules":       {"none is overlooked", ingress("annotations: {}}, spec: {rules: [" + strings.Repeat("{host: www.OWN.example}, ", 500) + "{host: www.OTHER.example}]}"), "is not this workspace's to serve"},
		"policy":           {"closes", "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: net, namespace: SITE}, spec: {podSelector: {}, ingress: [], egress: null}}", ""},
		"binding":          {"gives nothing", "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: b, namespace: SITE}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: broletto-workspace-view}, subjects: null}", ""},
		"service":          {"its writer lists nothing", "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: SITE}, spec: {ports: [{port: 80}], externalIPs: null}}", ""},
		"claim":            {"gets the first class", "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c, namespace: SITE, annotations: null}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}", ""},
		"big annotation":   {"within what Kubernetes allows", ingress("annotations: {a: '" + strings.Repeat("x", 250<<10) + "'}}, spec: {rules: [{host: www.OTHER.example}]}"), "is not this workspace's to serve"},
		"many annotations": {"within what Kubernetes allows", ingress("annotations: {" + manyAnnotations(4000) + "}}, spec: {rules: [{host: www.OTHER.example}]}"), "is not this workspace's to serve"},
		"many, and sound":  {"within what Kubernetes allows", ingress("annotations: {" + manyAnnotations(4000) + "}}, spec: {rules: [{host: www.OWN.example}]}"), ""},
	})
	w.try(w.administrator(), rules)
}

func manyAnnotations(n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, "nginx.ingress.kubernetes.io/a%d: 'value of an ordinary length %d', ", i, i)
	}
	return out.String()
}
