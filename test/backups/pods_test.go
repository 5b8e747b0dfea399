package backups

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/test/cluster"
)

// restrictedPod is what a workspace takes.
func restrictedPod() corev1.PodSpec {
	return corev1.PodSpec{
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{Name: "db", Image: "registry.example/db:1", SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}}},
	}
}

// takePods has pods of a name, in the tenant's namespaces that begin so, run on a node that is this process: they are Ready at once, and what is
// executed in them is executed here. The way there is real: the API server finds the node, and speaks to it as to a kubelet.
func (k *kubelet) takePods(name, namespaces string) {
	k.Helper()
	cert, key, err := cluster.Plane().LoopbackCertificate("node")
	if err != nil {
		k.Fatal(err)
	}
	serving, err := tls.X509KeyPair(cert, key)
	if err != nil {
		k.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(execute))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{serving}, MinVersion: tls.VersionTLS13}
	server.StartTLS()
	k.Cleanup(server.Close)
	host, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		k.Fatal(err)
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		k.Fatal(err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: k.ID("node")}}
	k.Create(node)
	bare := node.DeepCopy() // others write nodes as well
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: host}}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(number)
	if err := k.Admin.Status().Patch(k.Context(), node, client.MergeFrom(bare)); err != nil {
		k.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			if err := k.take(ctx, name, k.tenant.Name+"--"+namespaces, node.Name); err != nil && ctx.Err() == nil {
				k.Logf("the node: %v", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	})
	k.Cleanup(func() { stop(); running.Wait() })
}

// take binds pods, and says that they run and are Ready.
func (k *kubelet) take(ctx context.Context, name, namespaces, node string) error {
	var pods corev1.PodList
	if err := k.Admin.List(ctx, &pods, client.MatchingFields{metav1.ObjectNameField: name}); err != nil {
		return err
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		if !strings.HasPrefix(p.Namespace, namespaces) {
			continue
		}
		if !p.DeletionTimestamp.IsZero() { // a kubelet ends it
			if err := k.Admin.Delete(ctx, p, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
				return err
			}
			continue
		}
		if p.Spec.NodeName == "" {
			if err := k.Admin.SubResource("binding").Create(ctx, p, &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: node}}); err != nil {
				return err
			}
			continue
		}
		if p.Status.Phase == corev1.PodRunning {
			continue
		}
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: p.Spec.Containers[0].Name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
		if err := k.Admin.Status().Update(ctx, p); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// execute answers like a kubelet: the command is run, its output goes to the streams, and how it ended to the stream of errors.
func execute(w http.ResponseWriter, r *http.Request) {
	command := r.URL.Query()["command"]
	if !strings.HasPrefix(r.URL.Path, "/exec/") || len(command) == 0 {
		http.NotFound(w, r)
		return
	}
	if _, err := httpstream.Handshake(r, w, []string{"v4.channel.k8s.io"}); err != nil {
		return // it has answered
	}
	streams := make(chan httpstream.Stream, 3)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		streams <- s
		return nil
	})
	if conn == nil {
		return
	}
	defer func() { _ = conn.Close() }()
	by := map[string]httpstream.Stream{}
	for len(by) < 3 {
		select {
		case s := <-streams:
			by[s.Headers().Get(corev1.StreamType)] = s
		case <-conn.CloseChan():
			return
		}
	}
	run := exec.CommandContext(r.Context(), command[0], command[1:]...) //nolint:gosec // of the test's own policy
	var out, failed bytes.Buffer
	run.Stdout, run.Stderr = &out, &failed
	status := metav1.Status{Status: metav1.StatusSuccess}
	if err := run.Run(); err != nil {
		status = metav1.Status{Status: metav1.StatusFailure, Message: err.Error()}
		if exit, is := errors.AsType[*exec.ExitError](err); is {
			status.Reason = "NonZeroExitCode"
			status.Details = &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: "ExitCode", Message: strconv.Itoa(exit.ExitCode())}}}
		}
	}
	text, err := json.Marshal(status)
	if err != nil {
		return
	}
	for stream, content := range map[string][]byte{corev1.StreamTypeStdout: out.Bytes(), corev1.StreamTypeStderr: failed.Bytes()} {
		_, _ = by[stream].Write(content)
		_ = by[stream].Close()
	}
	_, _ = by[corev1.StreamTypeError].Write(text)
	_ = by[corev1.StreamTypeError].Close()
	<-conn.CloseChan()
}
