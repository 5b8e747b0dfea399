package stacks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
)

// witness sees what happens in the cluster, tells tests at once, and remembers what must never happen.
type witness struct {
	lock    sync.Mutex
	watches map[stackKey]func(kind, name string)
	pods    map[stackKey][]*seenPod             // in their order
	objects map[stackKey]map[string][]types.UID // the config maps that a stack made, by name
	jobs    map[string]bool                     // all that ever were
	wrong   map[stackKey][]error
}

// seenPod is the pod of a run.
type seenPod struct {
	name string
	uid  types.UID
	run  string // UID
	over bool
}

func newWitness(ctx context.Context) (*witness, error) {
	c, err := dynamic.NewForConfig(cluster.Admin())
	if err != nil {
		return nil, err
	}
	w := &witness{
		watches: map[stackKey]func(string, string){}, pods: map[stackKey][]*seenPod{}, objects: map[stackKey]map[string][]types.UID{}, wrong: map[stackKey][]error{}, jobs: map[string]bool{},
	}
	f := dynamicinformer.NewDynamicSharedInformerFactory(c, 0)
	for _, resource := range []schema.GroupVersionResource{
		v1alpha1.GroupVersion.WithResource("stackruns"), {Group: "batch", Version: "v1", Resource: "jobs"}, {Version: "v1", Resource: "pods"}, {Version: "v1", Resource: "configmaps"},
	} {
		_, err := f.ForResource(resource).Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { w.made(o.(*unstructured.Unstructured)) },
			UpdateFunc: func(_, o any) { w.changed(o.(*unstructured.Unstructured), false) },
			DeleteFunc: func(o any) {
				if last, isUnknown := o.(cache.DeletedFinalStateUnknown); isUnknown {
					o = last.Obj
				}
				w.changed(o.(*unstructured.Unstructured), true)
			},
		})
		if err != nil {
			return nil, err
		}
	}
	f.Start(ctx.Done())
	f.WaitForCacheSync(ctx.Done())
	return w, nil
}

// stackOf is the stack that an object belongs to: by its label, or, what a stack made, by its name.
func stackOf(o *unstructured.Unstructured) (s stackKey) {
	s.namespace, _, _ = strings.Cut(o.GetNamespace(), "--")
	if s.name = o.GetLabels()[v1alpha1.LabelStack]; s.name == "" && o.GetKind() == "ConfigMap" {
		s.name = o.GetName()[:max(0, strings.LastIndexByte(o.GetName(), '-'))]
	}
	return s
}

func (w *witness) made(o *unstructured.Unstructured) {
	s := stackOf(o)
	w.lock.Lock()
	switch o.GetKind() {
	case "Pod":
		run := o.GetLabels()[v1alpha1.LabelRun]
		for _, p := range w.pods[s] {
			if p.run == run {
				w.wrong[s] = append(w.wrong[s], fmt.Errorf("pods %s and %s work for one run", p.name, o.GetName()))
			}
			if !p.over {
				w.wrong[s] = append(w.wrong[s], fmt.Errorf("pod %s had not ended when pod %s was made", p.name, o.GetName()))
			}
		}
		w.pods[s] = append(w.pods[s], &seenPod{name: o.GetName(), uid: o.GetUID(), run: run})
	case "Job":
		if w.jobs[o.GetNamespace()+"/"+o.GetName()] {
			w.wrong[s] = append(w.wrong[s], fmt.Errorf("Job %s was made twice", o.GetName()))
		}
		w.jobs[o.GetNamespace()+"/"+o.GetName()] = true
	case "ConfigMap":
		if w.objects[s] == nil {
			w.objects[s] = map[string][]types.UID{}
		}
		w.objects[s][o.GetName()] = append(w.objects[s][o.GetName()], o.GetUID())
	}
	f := w.watches[s]
	w.lock.Unlock()
	if f != nil {
		f(o.GetKind(), o.GetName())
	}
}

func (w *witness) changed(o *unstructured.Unstructured, gone bool) {
	s := stackOf(o)
	w.lock.Lock()
	phase, _, _ := unstructured.NestedString(o.Object, "status", "phase")
	for _, p := range w.pods[s] {
		if p.uid == o.GetUID() && (gone || phase == string(corev1.PodSucceeded) || phase == string(corev1.PodFailed)) {
			p.over = true
		}
	}
	f := w.watches[s]
	w.lock.Unlock()
	if gone && f != nil {
		f("no "+o.GetKind(), o.GetName())
	}
}

// watch tells of each object of a stack when it is made, and, as "no " and its kind, when it is gone; nil: nobody.
func (w *witness) watch(s stackKey, f func(kind, name string)) {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.watches[s] = f
}

// podsOf are the UIDs of a stack's pods, the newest last.
func (w *witness) podsOf(s stackKey) (all []types.UID) {
	w.lock.Lock()
	defer w.lock.Unlock()
	for _, p := range w.pods[s] {
		all = append(all, p.uid)
	}
	return all
}

// verdict is what went wrong with a stack.
func (w *witness) verdict(s stackKey) error {
	w.lock.Lock()
	defer w.lock.Unlock()
	return errors.Join(w.wrong[s]...)
}

// objectsOf are the config maps that a stack ever made, with all UIDs that each had.
func (w *witness) objectsOf(s stackKey) map[string][]types.UID {
	w.lock.Lock()
	defer w.lock.Unlock()
	return maps.Clone(w.objects[s])
}

// process is one of a pod, as this machine sees it.
type process struct {
	pid  int
	args []string
}

// does tells whether it is a program with some argument.
func (p process) does(program, argument string) bool {
	return strings.HasPrefix(filepath.Base(p.args[0]), program) && (argument == "" || slices.Contains(p.args, argument))
}

// processesOf are the living processes of a pod: they see its volumes, whatever else they did.
func processesOf(pod types.UID) (all []process) {
	own, _ := os.Readlink("/proc/self/ns/mnt")
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, entry := range entries {
		space, err := os.Readlink(entry + "/ns/mnt")
		if err != nil || space == own {
			continue
		}
		mounts, err := os.ReadFile(entry + "/mountinfo")
		if err != nil || !strings.Contains(string(mounts), "/pods/"+string(pod)+"/") {
			continue
		}
		line, err := os.ReadFile(entry + "/cmdline")
		if err != nil || len(line) == 0 { // it has ended
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(entry))
		all = append(all, process{pid, strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")})
	}
	return all
}
