package policy

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// TestRun follows a cluster from before the node has a range of addresses, in virtual time.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		client := fake.NewClientset(node())
		var mu sync.Mutex // virtual time orders the writer and the test, but the race detector does not know
		var writes []string
		ready, ended := 0, make(chan error)
		go func() {
			ended <- run(ctx, client, "n1", func(_ context.Context, text string) error {
				mu.Lock()
				defer mu.Unlock()
				writes = append(writes, text)
				return nil
			}, func() {
				mu.Lock()
				defer mu.Unlock()
				ready++
			})
		}()
		expect := func(when string, total int) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if len(writes) != total || ready != min(total, 1) {
				t.Fatalf("%s: %d writes, ready %d times; want %d writes:\n%s", when, len(writes), ready, total, strings.Join(writes, "\n"))
			}
		}
		time.Sleep(time.Second)
		expect("no range of addresses yet", 0)

		must(t)(client.CoreV1().Nodes().Update(ctx, node("10.244.1.0/24"), metav1.UpdateOptions{}))
		expect("the first change, at once", 1)

		for _, name := range []string{"a", "b", "c"} {
			must(t)(client.CoreV1().Pods("shop").Create(ctx, pod(name, "10.244.1."+string(name[0]-'a'+'2')), metav1.CreateOptions{}))
		}
		expect("changes right after", 1)
		time.Sleep(pause)
		expect("changes together, after the pause", 2)

		annotated := pod("a", "10.244.1.2")
		annotated.Annotations = map[string]string{"color": "blue"}
		must(t)(client.CoreV1().Pods("shop").Update(ctx, annotated, metav1.UpdateOptions{}))
		time.Sleep(2 * pause)
		expect("a change that makes no difference", 2)

		must(t)(client.NetworkingV1().NetworkPolicies("shop").Create(ctx, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "closed", Namespace: "shop"}},
			metav1.CreateOptions{}))
		expect("a change after a quiet time, at once", 3)
		if err := client.CoreV1().Pods("shop").Delete(ctx, "b", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(pause)
		expect("a pod deleted", 4)
		if last := writes[3]; !strings.Contains(last, "10.244.1.2 : goto ingress-10.244.1.2") || strings.Contains(last, "10.244.1.3") {
			t.Errorf("the last rules are not those of the last state:\n%s", last)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestRunEndsWithTheWriter's error: rules that cannot be loaded are never passed over.
func TestRunEndsWithTheWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("refused")
		err := run(t.Context(), fake.NewClientset(node("10.244.1.0/24")), "n1",
			func(context.Context, string) error { return refused }, func() { t.Error("ready without rules") })
		if !errors.Is(err, refused) {
			t.Errorf("ended with %v, want %v", err, refused)
		}
	})
}

func node(cidrs ...string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: corev1.NodeSpec{PodCIDRs: cidrs}}
}

func pod(name, ip string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}, Spec: corev1.PodSpec{NodeName: "n1"}, Status: corev1.PodStatus{PodIP: ip}}
}

// must fails a test on the error of a call whose result is of no interest.
func must(t *testing.T) func(any, error) {
	return func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}
