package chart

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"sigs.k8s.io/yaml"
)

func TestSchemaRefuses(t *testing.T) {
	for name, test := range map[string]struct{ reason, values, want string }{
		"UnknownKey":         {"a typo must not be passed over", `replica: 3`, "additional properties 'replica' not allowed"},
		"UnknownNestedKey":   {"at any depth", `crd: {kept: true}`, "at '/crd': additional properties 'kept' not allowed"},
		"UnknownResource":    {"a resource that a pod of ours does not use", `resources: {limits: {memroy: 1Gi}}`, "at '/resources/limits': additional properties 'memroy' not allowed"},
		"UnknownToleration":  {"a list's items are closed as well", `tolerations: [{kee: x}]`, "at '/tolerations/0': additional properties 'kee' not allowed"},
		"TextForNumber":      {"--set-string makes this mistake", `replicas: "2"`, "at '/replicas': got string, want integer"},
		"TextForTruth":       {"a text is true even when it says false", `crd: {keep: "false"}`, "at '/crd/keep': got string, want boolean"},
		"NumberForTag":       {"a tag 1.10 would be 1.1", `image: {tag: 1.10}`, "at '/image/tag': got number, want string"},
		"NegativeReplicas":   {"bounds are the API's", `replicas: -1`, "at '/replicas': minimum: got -1, want 0"},
		"PullPolicy":         {"three are known", `image: {pullPolicy: Sometimes}`, "value must be one of 'Always', 'IfNotPresent', 'Never'"},
		"TagInRepository":    {"it would be there twice", `image: {repository: "ghcr.io/broletto/broletto:v1"}`, "at '/image/repository': 'ghcr.io/broletto/broletto:v1' does not match pattern"},
		"ShortDigest":        {"what cannot be a digest pulls nothing", `image: {digest: "sha256:abc"}`, "at '/image/digest': 'sha256:abc' does not match pattern"},
		"Quantity":           {"a unit that Kubernetes does not have", `resources: {limits: {memory: 256MB}}`, "at '/resources/limits/memory': '256MB' does not match pattern"},
		"NegativeQuantity":   {"less than nothing", `resources: {requests: {cpu: -1}}`, "at '/resources/requests/cpu': minimum: got -1, want 0"},
		"Interval":           {"Prometheus wants a unit", `metrics: {serviceMonitor: {interval: "60"}}`, "at '/metrics/serviceMonitor/interval': '60' does not match pattern"},
		"SecretName":         {"no file name, a name", `metrics: {certSecret: "../x"}`, "at '/metrics/certSecret': 'anyOf' failed"},
		"NoPort":             {"without a port the operator reaches nothing", `networkPolicy: {apiServerPorts: []}`, "at '/networkPolicy/apiServerPorts': minItems: got 0, want 1"},
		"PasswordInAddress":  {"the command line is read by others", `stateStore: {address: "postgres://u:geheim@db/x"}`, "at '/stateStore/address': 'postgres://u:geheim@db/x' does not match pattern"},
		"UnknownStore":       {"three are known", `stateStore: {address: "mysql://db/x"}`, "at '/stateStore/address': 'mysql://db/x' does not match pattern"},
		"LabelValue":         {"the API server would refuse it", `nodeSelector: {zone: "a b"}`, "at '/nodeSelector/zone': 'a b' does not match pattern"},
		"ArgumentNotFlag":    {"each item is one flag", `extraArgs: [verbose]`, "at '/extraArgs/0': 'verbose' does not match pattern"},
		"AccountWithoutName": {"never the namespace's default account, which every pod there may use", `serviceAccount: {create: false}`, "at '/serviceAccount/name': minLength: got 0, want 1"},
		"TagInRunner":        {"an image is said as the operator's", `runner: {image: {repository: "broletto-runner:v1"}}`, "at '/runner/image/repository': 'broletto-runner:v1' does not match pattern"},
		"TagInMover":         {"an image is said as the operator's", `mover: {image: {repository: "broletto-mover:v1"}}`, "at '/mover/image/repository': 'broletto-mover:v1' does not match pattern"},
		"SourceAddress":      {"an address is no range", `runner: {sourceRanges: [10.20.0.1]}`, "at '/runner/sourceRanges/0': '10.20.0.1' does not match pattern"},
		"Removed":            {"null takes a default away, and the templates need it", `image: null`, "missing property 'image'"},
	} {
		t.Run(name, func(t *testing.T) {
			err := validate(t, test.values)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: want an error with %q, got %v", test.reason, test.want, err)
			}
		})
	}
}

func TestSchemaAccepts(t *testing.T) {
	for name, test := range map[string]struct{ reason, values string }{
		"Subchart":      {"Helm gives a dependency the values of all charts", `global: {imageRegistry: registry.example}`},
		"LocalRegistry": {"a port is no tag", `image: {repository: "localhost:5000/broletto"}`},
		"NumberAmount":  {"YAML reads 1 as a number", `resources: {requests: {cpu: 1, memory: 1073741824}}`},
		"NoLimit":       {"null takes a default away", `resources: {limits: null}`},
		"OtherAccount":  {"made by somebody else", `serviceAccount: {create: false, name: municipal}`},
		"Bucket":        {"a store elsewhere", `stateStore: {address: "s3://stati/a?endpoint=https://s3.example.org", credentialsSecret: stati}`},
		"Database":      {"the user may be named", `stateStore: {address: "postgres://broletto@db.example.org:5432/stati?sslmode=verify-full", ports: [5432]}`},
		"Stopped":       {"for maintenance", `replicas: 0`},
	} {
		t.Run(name, func(t *testing.T) {
			if err := validate(t, test.values); err != nil {
				t.Errorf("%s: %v", test.reason, err)
			}
		})
	}
}

func validate(t *testing.T, text string) error {
	t.Helper()
	chart, err := loader.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.UnmarshalStrict([]byte(text), &values); err != nil {
		t.Fatal(err)
	}
	_, err = util.ToRenderValues(chart, values, common.ReleaseOptions{Name: release, Namespace: system}, nil)
	return err
}

// openByIntent are the objects in the schema whose keys are not ours to know.
var openByIntent = []string{
	".global", ".affinity.nodeAffinity", ".affinity.podAffinity", ".affinity.podAntiAffinity",
}

func TestSchemaIsClosedAndDescribed(t *testing.T) {
	schema := readSchema(t)
	walk(schema, "", func(path string, node map[string]any) {
		if node["description"] == nil {
			t.Errorf("%q has no description", path)
		}
		if node["type"] == "object" && node["additionalProperties"] == nil && !slices.Contains(openByIntent, path) {
			t.Errorf("%q takes any key", path)
		}
	})
}

func TestSchemaNamesWhatValuesDo(t *testing.T) {
	inSchema := map[string]bool{}
	schema := readSchema(t)
	walk(schema, "", func(path string, _ map[string]any) { inSchema[path] = true })
	for path := range leaves(readValues(t, folder+"/values.yaml"), "") {
		if !inSchema[path] {
			t.Errorf("values.yaml has %s, which the schema does not describe", path)
		}
	}
	all := readValues(t, folder+"/values.yaml")
	for key := range schema["properties"].(map[string]any) {
		if _, there := all[key]; !there && key != "global" {
			t.Errorf("the schema has %s, which values.yaml does not show", key)
		}
	}
}

// The manual has a table of all values and their defaults.
func TestManualNamesAllValues(t *testing.T) {
	text, err := os.ReadFile(repository + "/docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	values := leaves(readValues(t, folder+"/values.yaml"), "")
	for _, path := range slices.Sorted(maps.Keys(values)) {
		value, err := json.Marshal(values[path])
		if err != nil {
			t.Fatal(err)
		}
		row := "| `" + strings.TrimPrefix(path, ".") + "` | `" + strings.Trim(string(value), `"`) + "` |"
		if string(value) == `""` {
			row = "| `" + strings.TrimPrefix(path, ".") + "` | |"
		}
		if !hasRow(string(text), row) {
			t.Errorf("docs/install.md has no row %q", row)
		}
	}
}

func hasRow(text, row string) bool {
	return slices.ContainsFunc(strings.Split(text, "\n"), func(line string) bool { return strings.HasPrefix(line, row) })
}

func readSchema(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile(folder + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	return schema
}

// walk visits all schemas of properties and items, and the definitions, which have no path in the values.
func walk(schema map[string]any, path string, visit func(path string, node map[string]any)) {
	visit(path, schema)
	for _, keyword := range []string{"properties", "$defs"} {
		children, _ := schema[keyword].(map[string]any)
		for name, child := range children {
			if keyword == "$defs" {
				name = "$defs." + name
			}
			walk(child.(map[string]any), path+"."+name, visit)
		}
	}
	for _, keyword := range []string{"items", "additionalProperties"} {
		if child, ok := schema[keyword].(map[string]any); ok {
			walk(child, path+"[]", visit)
		}
	}
}

// leaves are the values that are no maps, and the maps that are empty, by their path. What a pod's resources are is one value.
func leaves(values map[string]any, path string) map[string]any {
	out := map[string]any{}
	for key, value := range values {
		inner, isMap := value.(map[string]any)
		if !isMap || len(inner) == 0 || key == "resources" {
			out[path+"."+key] = value
			continue
		}
		maps.Copy(out, leaves(inner, path+"."+key))
	}
	return out
}
