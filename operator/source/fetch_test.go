package source_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/operator/source"
)

var here = source.Options{Ranges: ranges("127.0.0.0/8", "::1/128")}

func ranges(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func read(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(name)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// fetch fetches into a folder as a runner has it, and sees that nothing is left beside it.
func fetch(t testing.TB, s run.Source, o source.Options) (map[string]string, string, error) {
	t.Helper()
	work := t.TempDir()
	dir := filepath.Join(work, "code")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	revision, err := source.Fetch(t.Context(), s, dir, o)
	if left, _ := os.ReadDir(work); len(left) != 1 {
		t.Errorf("left beside the code: %v", left)
	}
	if err != nil {
		return nil, "", err
	}
	return read(t, dir), revision, nil
}

func class(err error) v1alpha1.FailureClass {
	var f *source.Failure
	var hostile *run.Hostile
	switch {
	case errors.As(err, &f):
		return f.Class()
	case errors.As(err, &hostile):
		return v1alpha1.FailureSource
	}
	return ""
}

// refused checks that a fetch fails, whose turn it is, and what is said.
func refused(t testing.TB, s run.Source, o source.Options, turn v1alpha1.FailureClass, want string) {
	t.Helper()
	if _, _, err := fetch(t, s, o); err == nil || class(err) != turn || !strings.Contains(err.Error(), want) {
		t.Errorf("got %q (%s), want %q (%s)", err, class(err), want, turn)
	}
}

func TestFetchInline(t *testing.T) {
	files := map[string]v1alpha1.SourceText{"main.tf": "a", "b.tf": "b"}
	of := func(files map[string]v1alpha1.SourceText) run.Source {
		return run.Source{StackSource: v1alpha1.StackSource{Inline: files}}
	}
	got, revision, err := fetch(t, of(files), source.Options{})
	if err != nil || !strings.HasPrefix(revision, "sha256:") {
		t.Fatal(revision, err)
	}
	if diff := cmp.Diff(map[string]string{"main.tf": "a", "b.tf": "b"}, got); diff != "" {
		t.Error(diff)
	}
	files["main.tf"] = "c"
	if _, other, _ := fetch(t, of(files), source.Options{}); other == revision {
		t.Error("two sources have one revision")
	}
	refused(t, of(map[string]v1alpha1.SourceText{"../x": ""}), source.Options{}, v1alpha1.FailureSource, "no path inside")
	refused(t, run.Source{}, source.Options{}, v1alpha1.FailureSource, "none of inline, git and oci")
}

// repository is one that git itself serves.
type repository struct {
	dir    string
	first  string // a commit that no branch is at
	second string
}

func gitIn(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "init.defaultBranch=main"}, args...)...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func newRepository(t testing.TB) *repository {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	r := &repository{dir: t.TempDir()}
	commit := func(files map[string]string) string {
		write(t, r.dir, files)
		gitIn(t, r.dir, "add", "-A")
		gitIn(t, r.dir, "commit", "-q", "-m", "m")
		return gitIn(t, r.dir, "rev-parse", "HEAD")
	}
	gitIn(t, r.dir, "init", "-q")
	r.first = commit(map[string]string{"main.tf": "first", "deep/er/main.tf": "deep"})
	r.second = commit(map[string]string{"main.tf": "second"})
	gitIn(t, r.dir, "tag", "-a", "v1", "-m", "one", r.first)
	gitIn(t, r.dir, "tag", "both", r.first)
	gitIn(t, r.dir, "branch", "both")
	gitIn(t, r.dir, "branch", "feature/x", r.first)
	gitIn(t, r.dir, "checkout", "-q", "-b", "hostile")
	if err := os.Symlink("/etc/passwd", filepath.Join(r.dir, "main.tf.link")); err != nil {
		t.Fatal(err)
	}
	commit(map[string]string{"large.bin": strings.Repeat("x", 1<<20)})
	gitIn(t, r.dir, "checkout", "-q", "main")
	gitIn(t, r.dir, "checkout", "-q", "-b", "submodule")
	gitIn(t, r.dir, "update-index", "--add", "--cacheinfo", "160000,"+r.first+",sub")
	gitIn(t, r.dir, "commit", "-q", "-m", "m")
	gitIn(t, r.dir, "checkout", "-q", "main")
	return r
}

// serve serves it over https, asking for a password if there is one.
func (r *repository) serve(t testing.TB, password string) (url string, ca []byte) {
	t.Helper()
	backend := &cgi.Handler{
		Path: filepath.Join(gitIn(t, r.dir, "--exec-path"), "git-http-backend"), Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(r.dir), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + r.dir,
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if _, p, _ := req.BasicAuth(); p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, req)
	}))
	url, ca = start(t, server)
	return url + "/" + filepath.Base(r.dir) + "/.git", ca
}

// start starts a server over TLS, and says where it is and by which certificate it is known.
func start(t testing.TB, server *httptest.Server) (url string, ca []byte) {
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

func gitSource(url, revision, path string, credentials map[string][]byte) run.Source {
	return run.Source{
		StackSource: v1alpha1.StackSource{Git: &v1alpha1.GitSource{URL: url, Revision: revision, Path: path}}, Credentials: credentials,
	}
}

func TestFetchGit(t *testing.T) {
	r := newRepository(t)
	url, ca := r.serve(t, "")
	first := map[string]string{"main.tf": "first", "deep/er/main.tf": "deep"}
	second := map[string]string{"main.tf": "second", "deep/er/main.tf": "deep"}
	for name, row := range map[string]struct {
		revision, path, commit string
		files                  map[string]string
	}{
		"a branch":                 {"main", "", r.second, second},
		"a branch with a folder":   {"feature/x", "", r.first, first},
		"an annotated tag":         {"v1", "", r.first, first},
		"a tag before a branch":    {"both", "", r.first, first},
		"a whole reference":        {"refs/heads/both", "", r.second, second},
		"HEAD":                     {"HEAD", "", r.second, second},
		"a commit":                 {r.second, "", r.second, second},
		"a commit within a branch": {r.first, "", r.first, first},
		"a folder":                 {"main", "deep/er", r.second, map[string]string{"main.tf": "deep"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, revision, err := fetch(t, gitSource(url, row.revision, row.path, map[string][]byte{"ca.crt": ca}), here)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(row.files, got); diff != "" || revision != row.commit {
				t.Errorf("revision %s: %s", revision, diff)
			}
		})
	}
	t.Run("with a password", func(t *testing.T) {
		url, ca := r.serve(t, "pass-word")
		if _, _, err := fetch(t, gitSource(url, "main", "", map[string][]byte{"ca.crt": ca, "password": []byte("pass-word\n")}), here); err != nil {
			t.Error(err)
		}
		refused(t, gitSource(url, "main", "", map[string][]byte{"ca.crt": ca, "password": []byte("wrong")}), here, v1alpha1.FailureSource, "does not take the credentials")
		refused(t, gitSource(url, "main", "", map[string][]byte{"ca.crt": ca}), here, v1alpha1.FailureSource, "does not take the credentials")
	})
}

func TestFetchGitRefuses(t *testing.T) {
	r := newRepository(t)
	url, ca := r.serve(t, "")
	known := map[string][]byte{"ca.crt": ca}
	elsewhere := httptest.NewUnstartedServer(http.RedirectHandler(url+"/info/refs?service=git-upload-pack", http.StatusFound))
	away, awayCA := start(t, elsewhere)
	busy := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	busyURL, busyCA := start(t, busy)
	small, tight, short := here, here, here
	small.Wire, tight.Limits, short.Time = 300, run.Limits{Files: 10, Bytes: 5}, 1
	author, later := v1alpha1.FailureSource, v1alpha1.FailureInfrastructure
	for name, row := range map[string]struct {
		source run.Source
		o      source.Options
		turn   v1alpha1.FailureClass
		want   string
	}{
		"no such branch":           {gitSource(url, "nope", "", known), here, author, `no branch or tag "nope"`},
		"no such commit":           {gitSource(url, strings.Repeat("1", 40), "", known), here, author, "correct git.revision"},
		"no such folder":           {gitSource(url, "main", "nope", known), here, author, `no folder "nope"`},
		"no such repository":       {gitSource(url+"x", "main", "", known), here, author, "correct git.url"},
		"a link":                   {gitSource(url, "hostile", "", known), here, author, "neither a file nor a folder"},
		"a submodule":              {gitSource(url, "submodule", "", known), here, author, "neither a file nor a folder"},
		"too much to read":         {gitSource(url, "main", "", known), small, author, "larger than a runner reads"},
		"too much to write":        {gitSource(url, "main", "", known), tight, author, "too large"},
		"a private address":        {gitSource(url, "main", "", known), source.Options{}, author, "no address that a source may be at"},
		"a metadata service":       {gitSource("https://169.254.169.254/x", "main", "", nil), source.Options{}, author, "no address that a source may be at"},
		"a private one elsewhere":  {gitSource(url, "main", "", known), source.Options{Ranges: ranges("10.0.0.0/8", "127.0.0.2/32")}, author, "--source-ranges"},
		"link-local all the same":  {gitSource("https://169.254.169.254/x", "main", "", nil), source.Options{Ranges: ranges("0.0.0.0/0")}, author, "no address that a source may be at"},
		"metadata all the same":    {gitSource("https://[fd00:ec2::254]/x", "main", "", nil), source.Options{Ranges: ranges("::/0")}, author, "no address that a source may be at"},
		"metadata by another form": {gitSource("https://[::ffff:100.100.100.200]/x", "main", "", nil), source.Options{Ranges: ranges("::/0", "0.0.0.0/0")}, author, "no address that a source may be at"},
		"another server":           {gitSource(away, "main", "", map[string][]byte{"ca.crt": awayCA}), here, author, "where the code really is"},
		"a certificate of none":    {gitSource(url, "main", "", nil), here, author, "put ca.crt"},
		"no certificate":           {gitSource(url, "main", "", map[string][]byte{"ca.crt": []byte("x")}), here, author, "no certificate in PEM"},
		"without TLS":              {gitSource(strings.Replace(url, "https", "http", 1), "main", "", known), here, author, "use https"},
		"a file":                   {gitSource("file://"+r.dir, "main", "", known), here, author, "use https"},
		"a server in trouble":      {gitSource(busyURL, "main", "", map[string][]byte{"ca.crt": busyCA}), here, later, "502"},
		"no server":                {gitSource("https://127.0.0.1:1/x", "main", "", known), here, later, "spec.network.egress"},
		"not in time":              {gitSource(url, "main", "", known), short, later, "could not be had within"},
		"ssh without a key":        {gitSource("ssh://git@127.0.0.1/x", "main", "", nil), here, author, "identity"},
		"ssh with another's key":   {gitSource("ssh://git@127.0.0.1/x", "main", "", map[string][]byte{"identity": []byte("x"), "known_hosts": []byte("x")}), here, author, "no private key"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, row.source, row.o, row.turn, row.want) })
	}
}

// registry is one in memory, with a password.
func registry(t testing.TB, blobs map[string][]byte) (host string, ca []byte) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, p, _ := r.BasicAuth(); p != "pass-word" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		data, ok := blobs[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		}
		_, _ = w.Write(data)
	}))
	url, ca := start(t, server)
	return strings.TrimPrefix(url, "https://"), ca
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func layer(blobs map[string][]byte, kind, title string, data []byte) map[string]any {
	blobs[digest(data)] = data
	l := map[string]any{"mediaType": kind, "digest": digest(data), "size": len(data)}
	if title != "" {
		l["annotations"] = map[string]string{ocispec.AnnotationTitle: title}
	}
	return l
}

func manifestOf(blobs map[string][]byte, layers ...map[string]any) string {
	data, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "layers": layers})
	blobs[digest(data)] = data
	return digest(data)
}

func archive(t testing.TB, headers ...tar.Header) []byte {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			_, _ = w.Write([]byte(h.Name))
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestFetchOCI(t *testing.T) {
	const targz = "application/vnd.cncf.flux.content.v1.tar+gzip"
	blobs := map[string][]byte{}
	good := archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "./main.tf"}, tar.Header{Typeflag: tar.TypeReg, Name: "a/b.tf"})
	host, ca := registry(t, blobs)
	credentials := map[string][]byte{"ca.crt": ca, "username": []byte("u"), "password": []byte("pass-word")}
	of := func(digest, path string) run.Source {
		return run.Source{StackSource: v1alpha1.StackSource{OCI: &v1alpha1.OCISource{Reference: host + "/ict/stacks@" + digest, Path: path}}, Credentials: credentials}
	}
	whole := manifestOf(blobs, layer(blobs, targz, "", good), layer(blobs, "text/plain", "c.tf", []byte("c")))
	got, revision, err := fetch(t, of(whole, ""), here)
	if err != nil || revision != whole {
		t.Fatal(revision, err)
	}
	if diff := cmp.Diff(map[string]string{"main.tf": "./main.tf", "a/b.tf": "a/b.tf", "c.tf": "c"}, got); diff != "" {
		t.Error(diff)
	}
	if got, _, err = fetch(t, of(whole, "a"), here); err != nil || got["b.tf"] == "" {
		t.Error(got, err)
	}
	author := v1alpha1.FailureSource
	refused(t, of(whole, "nope"), here, author, `no folder "nope"`)
	refused(t, of(digest(nil), ""), here, author, "none under this digest")
	refused(t, of(manifestOf(blobs), ""), here, author, "no artefact with layers")
	refused(t, of(manifestOf(blobs, layer(blobs, "text/plain", "../x", []byte("c"))), ""), here, author, "no path inside")
	refused(t, of(manifestOf(blobs, layer(blobs, "text/plain", "", []byte("c"))), ""), here, author, "push it as tar.gz")
	refused(t, of(manifestOf(blobs, layer(blobs, targz, "", []byte("c"))), ""), here, author, "not compressed")
	link := archive(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "a", Linkname: "/etc"})
	refused(t, of(manifestOf(blobs, layer(blobs, targz, "", link)), ""), here, author, "neither a file nor a folder")
	refused(t, of(whole, ""), source.Options{}, author, "no address that a source may be at")

	swapped := layer(blobs, targz, "", archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "x"}))
	changed := manifestOf(blobs, swapped)
	evil := archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "y"})
	blobs[swapped["digest"].(string)] = evil
	refused(t, of(changed, ""), here, author, "digest")
	blobs[whole] = blobs[changed]
	refused(t, of(whole, ""), here, author, "digest")
	credentials["password"] = []byte("wrong")
	refused(t, of(changed, ""), here, author, "does not take the credentials")
	delete(credentials, "password")
	refused(t, of(changed, ""), here, author, "wants credentials")
}

func TestFetchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	url, ca := start(t, server)
	dir := filepath.Join(t.TempDir(), "code")
	if _, err := source.Fetch(ctx, gitSource(url, "main", "", map[string][]byte{"ca.crt": ca}), dir, here); class(err) != v1alpha1.FailureInfrastructure {
		t.Error(err)
	}
}
