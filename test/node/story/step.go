// Package story plays stories: what people do with a cluster, step by step, and what comes of it. A story is a folder of numbered YAML
// files that a platform engineer can read; each is one step:
//
//	# The comune's administrator asks for a workspace, and Flux repeats it.
//	as: {user: anna, groups: ["chiasso:ict"]}
//	apply:
//	  - apiVersion: broletto.dev/v1alpha1
//	    kind: Workspace
//	    metadata: {name: scuole, namespace: chiasso}
//	    spec: {environment: Production, dataClass: Ordinary, personalData: false}
//	expect:
//	  - apiVersion: broletto.dev/v1alpha1
//	    kind: Workspace
//	    metadata: {name: scuole, namespace: chiasso}
//	    status: {conditions: [{type: Ready, status: "True"}]}
package story

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Step is one file of a story. What it does comes first, in the order of the fields; then it waits for what comes of it.
type Step struct {
	// As is who does it; the platform engineer unless somebody is named.
	As Person `json:"as"`
	// Files of the repository are applied as they stand.
	Files []string `json:"files"`
	// Apply holds objects to apply, server-side, as "kubectl apply --server-side" and Flux do.
	Apply []Object `json:"apply"`
	// Delete names objects to delete.
	Delete []Object `json:"delete"`
	// Refused is a part of what the API server answers to each object of apply or delete. Without it, nothing may be refused.
	Refused string `json:"refused"`
	// Unchanged says that each object that is applied stays as it was.
	Unchanged bool `json:"unchanged"`
	// Run is a command in a pod, repeated until it succeeds.
	Run *Run `json:"run"`
	// Expect holds fields of objects. One without a name is any of the kind that has the fields.
	Expect []Object `json:"expect"`
	// Gone names objects that are there no more; one without a name stands for all that have the fields.
	Gone []Object `json:"gone"`
	// Within bounds the time until all is as expected.
	Within metav1.Duration `json:"within"`
}

// Person is a user as a certificate names it.
type Person struct {
	User   string   `json:"user"`
	Groups []string `json:"groups"`
}

// Run is a command in a pod.
type Run struct {
	Namespace string   `json:"namespace"`
	Pod       string   `json:"pod"`
	Command   []string `json:"command"`
	// Prints is a part of what it prints.
	Prints string `json:"prints"`
}

// Object is an object of the cluster, or some fields of one.
type Object struct{ unstructured.Unstructured }

// UnmarshalJSON accepts what has no name.
func (o *Object) UnmarshalJSON(text []byte) error {
	return yaml.Unmarshal(text, &o.Object)
}

const (
	// usual is how long a step may take that says nothing of it. The machine may be busy.
	usual = 90 * time.Second
	// platformEngineer may do what Kubernetes lets an administrator do, and does not break the glass.
	platformEngineer = "platform-engineer"
	mastersGroup     = "system:masters"
)

// Read reads the steps of a story in the order of their names.
func Read(folder string) (steps []Step, names []string, err error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("story %s has no steps", folder)
	}
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, nil, err
		}
		step, err := parse(text)
		if err != nil {
			return nil, nil, fmt.Errorf("reading step %s: %w", file, err)
		}
		steps, names = append(steps, step), append(names, filepath.Base(file))
	}
	return steps, names, nil
}

func parse(text []byte) (Step, error) {
	var s Step
	if err := yaml.UnmarshalStrict(text, &s); err != nil {
		return s, err
	}
	if s.As.User == "" {
		s.As = Person{platformEngineer, []string{mastersGroup}}
	}
	if s.Within.Duration == 0 {
		s.Within.Duration = usual
	}
	for _, o := range slices.Concat(s.Apply, s.Delete, s.Expect, s.Gone) {
		if o.GetAPIVersion() == "" || o.GetKind() == "" {
			return s, fmt.Errorf("an object has no apiVersion or kind: %s", inline(o.Object))
		}
	}
	if s.Refused != "" && len(s.Apply)+len(s.Delete) == 0 {
		return s, fmt.Errorf("refused %q, but there is nothing to apply or delete", s.Refused)
	}
	return s, nil
}
