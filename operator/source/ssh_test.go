package source_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/broletto/broletto/api/v1alpha1"
)

func newKey(t testing.TB) (ssh.Signer, []byte) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}

// serveSSH serves a repository to who has a key.
func serveSSH(t *testing.T, r *repository, host ssh.Signer, user ssh.PublicKey) string {
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(user.Marshal()) {
			return nil, fmt.Errorf("who are you?")
		}
		return &ssh.Permissions{}, nil
	}}
	config.AddHostKey(host)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go talk(r, conn, config)
		}
	}()
	return listener.Addr().String()
}

func talk(r *repository, conn net.Conn, config *ssh.ServerConfig) {
	defer func() { _ = conn.Close() }()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		go func() {
			for req := range requests {
				_ = req.Reply(req.Type == "exec", nil)
				if req.Type != "exec" {
					continue
				}
				cmd := exec.Command("git", "upload-pack", r.dir)
				cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.dir, "GIT_CONFIG_NOSYSTEM=1"}
				cmd.Stdin, cmd.Stdout = channel, channel
				status := uint32(0)
				if cmd.Run() != nil {
					status = 1
				}
				_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
				_ = channel.Close()
			}
		}()
	}
}

func TestFetchGitOverSSH(t *testing.T) {
	r := newRepository(t)
	host, _ := newKey(t)
	other, otherPEM := newKey(t)
	user, userPEM := newKey(t)
	addr := serveSSH(t, r, host, user.PublicKey())
	url := "ssh://git@" + addr + r.dir
	knows := func(key ssh.PublicKey) []byte { return []byte(knownhosts.Line([]string{addr}, key) + "\n") }
	good := map[string][]byte{"identity": userPEM, "known_hosts": knows(host.PublicKey())}

	got, revision, err := fetch(t, gitSource(url, "main", "", good), here)
	if err != nil || revision != r.second || got["main.tf"] != "second" {
		t.Fatal(got, revision, err)
	}
	if got, _, err = fetch(t, gitSource(url, r.first, "", good), here); err != nil || got["main.tf"] != "first" {
		t.Error(got, err)
	}
	author := v1alpha1.FailureSource
	refused(t, gitSource(url, "main", "", map[string][]byte{"identity": otherPEM, "known_hosts": knows(host.PublicKey())}), here, author, "does not take the credentials")
	refused(t, gitSource(url, "main", "", map[string][]byte{"identity": userPEM, "known_hosts": knows(other.PublicKey())}), here, author, "does not know the server's key")
	empty := map[string][]byte{"identity": userPEM, "known_hosts": []byte("# nobody\n")}
	refused(t, gitSource(url, "main", "", empty), here, author, "does not know the server's key")
	off := here
	off.Ranges = nil
	refused(t, gitSource(url, "main", "", good), off, author, "no address that a source may be at")
	refused(t, gitSource(strings.Replace(url, "127.0.0.1", "localhost", 1), "main", "", good), off, author, "no address that a source may be at")
}
