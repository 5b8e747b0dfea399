package story

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

func TestMain(m *testing.M) { cluster.Run(m) }

// plane has no nodes: what stories do with pods is played elsewhere.
type plane struct{}

func (plane) Config(user string, groups ...string) (*rest.Config, error) {
	return cluster.As(user, groups...), nil
}

const (
	repository = "../../.."
	stories    = repository + "/test/node/testdata/stories/"
)

func TestPlay(t *testing.T) {
	s := stage.New(t, "story")
	for _, class := range []string{"standard", "encrypted"} {
		s.Create(&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: class}, Provisioner: "none.example"})
	}
	s.Operate(time.Now())
	for _, story := range []string{"01-onboard", "02-ask", "08-leave"} {
		t.Run(story, func(t *testing.T) { Play(t, plane{}, repository, stories+story) })
	}
}

func TestPlayFails(t *testing.T) {
	const settings = `{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: default}, data: {a: "1"}}`
	for name, test := range map[string]struct{ reason, step, want string }{
		"Refused":      {"who may not, cannot", `{as: {user: eve}, apply: [` + settings + `]}`, `applying ConfigMap default/settings as eve: configmaps "settings" is forbidden`},
		"NotRefused":   {"who may, could", `{refused: quota, apply: [` + settings + `]}`, "was not refused"},
		"OtherRefusal": {"refused for another reason is no proof", `{as: {user: eve}, refused: quota, apply: [` + settings + `]}`, `but not by "quota"`},
		"UnknownField": {"a typo is an error", `{apply: [{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: default}, dta: {}}]}`, "field not declared in schema"},
		"Missing":      {"what is expected is there", `{expect: [{apiVersion: v1, kind: Namespace, metadata: {name: nowhere}}]}`, "there is none"},
		"Other":        {"and has the fields", `{apply: [` + settings + `], expect: [{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: default}, data: {a: "2"}}]}`, `data.a is "1", want "2"`},
		"NoneOfAll":    {"one of the kind", `{expect: [{apiVersion: v1, kind: Namespace, metadata: {labels: {a: b}}}]}`, "metadata.labels"},
		"Stays":        {"what is to go is not there", `{gone: [{apiVersion: v1, kind: Namespace, metadata: {name: default}}]}`, "Namespace default is there"},
		"Changed":      {"the same again is no change", `{unchanged: true, apply: [{apiVersion: v1, kind: Namespace, metadata: {name: default, labels: {a: c}}}]}`, "it was changed from revision"},
		"File":         {"a file that is not there", `{files: [config/none.yaml]}`, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			step, err := parse([]byte(test.step))
			if err != nil {
				t.Fatal(err)
			}
			a := act{Step: step, repository: repository, cluster: plane{}}
			var awaited []error
			err = a.play(t.Context(), func(_ string, f func() error) { awaited = append(awaited, f()) })
			if err = errors.Join(append(awaited, err)...); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: want an error with %q, got %v", test.reason, test.want, err)
			}
		})
	}
}

func TestPlayPasses(t *testing.T) {
	const settings = `{apiVersion: v1, kind: ConfigMap, metadata: {name: passes, namespace: default}, data: {a: "1"}}`
	for _, text := range []string{
		`{apply: [` + settings + `], expect: [` + settings + `, {apiVersion: v1, kind: ConfigMap, metadata: {namespace: default}, data: {a: "1"}}]}`,
		`{apply: [` + settings + `], unchanged: true}`,
		`{as: {user: eve}, delete: [` + settings + `], refused: forbidden}`,
		`{delete: [` + settings + `], gone: [` + settings + `, {apiVersion: v1, kind: ConfigMap, metadata: {namespace: default}, data: {a: "1"}}]}`,
	} {
		step, err := parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		a := act{Step: step, repository: repository, cluster: plane{}}
		if err := a.play(context.Background(), func(_ string, f func() error) { err = errors.Join(err, f()) }); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestReadAll(t *testing.T) {
	folders, err := filepath.Glob(stories + "*")
	if err != nil || len(folders) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, folder := range folders {
		if _, _, err := Read(folder); err != nil {
			t.Error(err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, test := range map[string]struct{ step, want string }{
		"Typo":            {`{expects: []}`, `unknown field "expects"`},
		"NoKind":          {`{expect: [{metadata: {name: a}}]}`, "no apiVersion or kind"},
		"NothingToRefuse": {`{refused: quota}`, "nothing to apply or delete"},
		"TheSameKeyTwice": {"gone: []\ngone: []", "already set"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse([]byte(test.step)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("want an error with %q, got %v", test.want, err)
			}
		})
	}
}

func TestMatch(t *testing.T) {
	got := map[string]any{
		"metadata": map[string]any{"generation": int64(2)}, "number": int64(3), "text": "quota exceeded here",
		"status": map[string]any{"conditions": []any{
			map[string]any{"type": "Ready", "status": "True", "observedGeneration": int64(1)},
			map[string]any{"type": "Member", "status": "True", "observedGeneration": int64(2)},
		}},
	}
	conditions := func(kind string) map[string]any {
		return map[string]any{"status": map[string]any{"conditions": []any{map[string]any{"type": kind, "status": "True"}}}}
	}
	for name, test := range map[string]struct {
		reason string
		want   map[string]any
		ok     bool
	}{
		"Number":        {"of whatever type", map[string]any{"number": float64(3)}, true},
		"NumberIsText":  {"3 is not \"3\"", map[string]any{"number": "3"}, false},
		"Contained":     {"between asterisks", map[string]any{"text": "*exceeded*"}, true},
		"NotContained":  {"between asterisks", map[string]any{"text": "*forbidden*"}, false},
		"Whole":         {"without, it is the whole text", map[string]any{"text": "exceeded"}, false},
		"Condition":     {"of this generation", conditions("Member"), true},
		"PastCondition": {"what was said of the generation before does not count", conditions("Ready"), false},
		"Missing":       {"a field that is not there", map[string]any{"none": map[string]any{"a": "b"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := match("", test.want, current(got)); (err == nil) != test.ok {
				t.Errorf("%s: got %v, want match %t", test.reason, err, test.ok)
			}
		})
	}
}
