package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// The user that may do everything.
const (
	AdminUser  = "broletto-admin"
	AdminGroup = "system:masters"
)

// KubeletClient is the name on the certificate by which the API server asks nodes for logs.
const KubeletClient = "broletto-api-server"

const (
	loopback  = "127.0.0.1"
	auditName = "audit.log"
)

// Options say where and how to run a control plane. The zero value is a quiet one that leaves nothing behind.
type Options struct {
	// Dir keeps everything that the control plane writes; a later Start with the same Dir continues there.
	// Empty means a temporary folder that Stop removes; it stays only if a process fails to start, for its logs.
	Dir string
	// Port is the API server's on 127.0.0.1. 0 means the one that Dir remembers if it is free, else any free one.
	Port int
	// Address is this machine's, where nodes and pods reach the API server, which then listens on every address. Nil means loopback
	// alone, and no nodes.
	Address net.IP
	// Progress gets a line per step. Nil means silence.
	Progress io.Writer
	// Prepare is called when the API server answers and before the controller manager starts. Custom resource definitions
	// that it installs are known to quotas and garbage collection at once, instead of at their next look 30 s later.
	Prepare func(ctx context.Context, c *ControlPlane) error
}

// ControlPlane is a running one. Its methods may be called from several goroutines.
type ControlPlane struct {
	data      *dataDir
	authority *authority
	address   net.IP
	port      int
	server    string // URL of one that somebody else runs
	etcd      *process
	apiServer *process
	manager   *process
	stop      func() error
}

// Start runs etcd, kube-apiserver and kube-controller-manager until Stop, building them first if need be. When it
// returns, the API is ready and the default namespace has its service account, which in a new data folder means that
// the controllers work. If it fails, or ctx ends before, nothing is left running. Later, ctx means nothing.
func Start(ctx context.Context, o Options) (*ControlPlane, error) {
	p := newProgress(o.Progress)
	data, err := openDataDir(ctx, o.Dir)
	if err != nil {
		return nil, fmt.Errorf("start a control plane: %w", err)
	}
	c := &ControlPlane{data: data, address: o.Address}
	c.stop = sync.OnceValue(c.shutdown)
	if err := c.start(ctx, p, o); err != nil {
		if _, died := errors.AsType[*ProcessError](err); died {
			data.temporary = false // the log that the error names is evidence
		}
		_ = c.Stop() // would only repeat err
		return nil, fmt.Errorf("start a control plane: %w", err)
	}
	p.say("control plane ready at %s", c.URL())
	return c, nil
}

// Attach returns a control plane that somebody else runs, with dir for its data folder and reached at server, such as
// https://127.0.0.1:6443. Whoever may read the folder may do everything there. Stop leaves it running, and Wait waits for ctx alone.
func Attach(dir, server string) (*ControlPlane, error) {
	pki := filepath.Join(dir, "pki")
	if !exists(filepath.Join(pki, "ca.crt")) {
		return nil, &Error{Object: "data folder " + dir, Cause: os.ErrNotExist, WayOut: "start a control plane there first"}
	}
	a, err := loadAuthority(pki)
	if err != nil {
		return nil, err
	}
	return &ControlPlane{data: &dataDir{path: dir}, authority: a, server: server, stop: func() error { return nil }}, nil
}

func (c *ControlPlane) start(ctx context.Context, p *progress, o Options) error {
	// What can fail at once goes before what takes minutes.
	if _, err := choosePort(o.Port, c.data.state.Port); err != nil {
		return err
	}
	bin, err := build(ctx, p, serverNames)
	if err != nil {
		return err
	}
	if err := c.prepare(ctx, bin); err != nil {
		return err
	}
	if c.etcd, err = c.run(bin, "etcd", etcdFlags()); err != nil {
		return err
	}
	p.say("started etcd")
	// The API server waits for etcd by itself.
	if err := c.startServer(ctx, p, bin, o.Port); err != nil {
		return err
	}
	if o.Prepare != nil {
		if err := o.Prepare(ctx, c); err != nil {
			return fmt.Errorf("prepare the cluster: %w", err)
		}
	}
	// The controller manager, when too early, is refused by the API server and then waits ever longer.
	if err := c.writeManagerKubeconfig(); err != nil {
		return err
	}
	if c.manager, err = c.run(bin, "kube-controller-manager", controllerManagerFlags(c.address)); err != nil {
		return err
	}
	p.say("started kube-controller-manager")
	return c.await(ctx, c.manager, "/api/v1/namespaces/default/serviceaccounts/default")
}

// startServer starts the API server and waits until it is ready. Between choosing a free port and listening there,
// another process may take it; unless the caller wants just that port, the next one will do.
func (c *ControlPlane) startServer(ctx context.Context, p *progress, bin string, want int) error {
	const attempts = 3
	for attempt := 1; ; attempt++ {
		var err error
		if c.port, err = choosePort(want, c.data.state.Port); err != nil {
			return err
		}
		if c.apiServer, err = c.run(bin, "kube-apiserver", apiServerFlags(c.address, c.port)); err != nil {
			return err
		}
		p.say("started kube-apiserver on port %d", c.port)
		err = c.await(ctx, c.apiServer, "/readyz")
		if err == nil {
			c.data.state.Port = c.port
			return c.data.save()
		}
		if want != 0 || attempt == attempts || !errors.Is(err, ErrPortTaken) {
			return err
		}
	}
}

func (c *ControlPlane) run(bin, name string, flags []string) (*process, error) {
	return startProcess(c.data.path, c.data.held, filepath.Join(bin, name), flags)
}

// prepare writes the files that the processes read.
func (c *ControlPlane) prepare(ctx context.Context, bin string) error {
	kubernetes, err := versionOf(ctx, filepath.Join(bin, "kube-apiserver"))
	if err != nil {
		return err
	}
	etcd, err := versionOf(ctx, filepath.Join(bin, "etcd"))
	if err != nil {
		return err
	}
	if err := c.data.claim(kubernetes, etcd); err != nil {
		return err
	}
	if c.authority, err = loadAuthority(c.data.file("pki")); err != nil {
		return err
	}
	addresses := []net.IP{net.ParseIP(loopback), net.ParseIP("10.96.0.1")}
	if c.address != nil {
		addresses = append(addresses, c.address)
	}
	cert, key, err := c.authority.server("kube-apiserver",
		[]string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
			"kubernetes.default.svc.cluster.local"}, addresses)
	if err != nil {
		return err
	}
	kubeletCert, kubeletKey, err := c.authority.client(KubeletClient, AdminGroup)
	if err != nil {
		return err
	}
	return errors.Join(
		writeSecret(c.data.file("pki", "kubelet-client.crt"), kubeletCert),
		writeSecret(c.data.file("pki", "kubelet-client.key"), kubeletKey),
		writeSecret(c.data.file("pki", "apiserver.crt"), cert),
		writeSecret(c.data.file("pki", "apiserver.key"), key),
		writeServiceAccountKeys(c.data.file("pki", "sa.key"), c.data.file("pki", "sa.pub")),
		writeSecret(c.data.file("audit-policy.yaml"), []byte(auditPolicy)),
	)
}

func (c *ControlPlane) writeManagerKubeconfig() error {
	config, err := c.Kubeconfig("system:kube-controller-manager")
	if err != nil {
		return err
	}
	return writeSecret(c.data.file("pki", "controller-manager.kubeconfig"), config)
}

// choosePort returns the wanted port, or the remembered, or any that is free.
func choosePort(want, remembered int) (int, error) {
	if want != 0 {
		_, err := listen(want)
		if errors.Is(err, syscall.EADDRINUSE) {
			return 0, &Error{
				Object: fmt.Sprintf("port %d on %s", want, loopback),
				Cause:  ErrPortTaken,
				WayOut: "stop the process that listens there, or choose another port; 0 finds a free one",
			}
		}
		return want, err
	}
	if remembered != 0 {
		if port, err := listen(remembered); err == nil {
			return port, nil
		}
	}
	return listen(0)
}

// listen finds out whether a port is free, and which if it is 0.
func listen(port int) (int, error) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.ParseIP(loopback), Port: port})
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// URL is the API server's: at the address that nodes use, if there is one.
func (c *ControlPlane) URL() string {
	if c.server != "" {
		return c.server
	}
	if c.address != nil {
		return fmt.Sprintf("https://%s:%d", c.address, c.port)
	}
	return fmt.Sprintf("https://%s:%d", loopback, c.port)
}

// CA is the certificate, in PEM, that the API server's is signed with.
func (c *ControlPlane) CA() []byte { return c.authority.pem }

// Dir is the data folder.
func (c *ControlPlane) Dir() string { return c.data.path }

// AuditLog is the path of the log that [ReadAudit] reads.
func (c *ControlPlane) AuditLog() string { return c.data.file(auditName) }

// ClientCertificate makes credentials, in PEM, of a user in groups. [AdminUser] in [AdminGroup] may do everything;
// anybody else needs role bindings.
func (c *ControlPlane) ClientCertificate(user string, groups ...string) (cert, key []byte, err error) {
	return c.authority.client(user, groups...)
}

// LoopbackCertificate makes a certificate and its key, in PEM, of a server on this machine's loopback address; its clients find [ControlPlane.CA] enough.
func (c *ControlPlane) LoopbackCertificate(name string) (cert, key []byte, err error) {
	return c.authority.server(name, []string{"localhost"}, []net.IP{net.ParseIP(loopback)})
}

// Kubeconfig makes a kubeconfig, in YAML and complete in itself, of a user in groups.
func (c *ControlPlane) Kubeconfig(user string, groups ...string) ([]byte, error) {
	cert, key, err := c.ClientCertificate(user, groups...)
	if err != nil {
		return nil, err
	}
	return kubeconfig{Server: c.URL(), User: user, CA: c.CA(), Cert: cert, Key: key}.yaml()
}

// Wait returns nil when ctx ends, or a [ProcessError] when a process does, which only Stop should bring about.
func (c *ControlPlane) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-c.etcd.end():
	case <-c.apiServer.end():
	case <-c.manager.end():
	}
	return c.casualty()
}

// casualty is the error of a process that has ended. Of several it is the first to start: the others depend on it.
func (c *ControlPlane) casualty() error {
	for _, p := range []*process{c.etcd, c.apiServer, c.manager} {
		if p == nil {
			continue
		}
		if err := p.ended(); err != nil {
			return err
		}
	}
	return nil
}

// grace is how long a process gets between being asked to end and being killed. They need about a second in all, but
// the API server would wait a minute for clients that still watch. Being killed costs nothing: what was answered is in
// etcd's log, which the kernel keeps when the process is gone.
const grace = 2 * time.Second

// Stop ends the processes in reverse order and waits for each, then removes a temporary data folder. It fails if
// a process had ended by itself before. More calls do nothing more and return the same.
func (c *ControlPlane) Stop() error { return c.stop() }

func (c *ControlPlane) shutdown() error {
	err := c.casualty()
	for _, p := range []*process{c.manager, c.apiServer, c.etcd} {
		if p != nil {
			p.stop(grace)
		}
	}
	return errors.Join(err, c.data.close())
}
