package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	hostkeys "golang.org/x/crypto/ssh/knownhosts"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/run"
)

// git fetches one commit and writes the files of a folder of it. There is no working copy: no hook, filter, submodule or attribute of the
// repository is looked at.
func git(ctx context.Context, s v1alpha1.GitSource, credentials map[string][]byte, dir string, o Options) (string, error) {
	tmp, done, err := beside(dir)
	if err != nil {
		return "", err
	}
	defer done()
	dial, err := dialGit(ctx, s, credentials, tmp, o)
	if err != nil {
		return "", err
	}
	store := filesystem.NewStorage(osfs.New(filepath.Join(tmp, "objects")), cache.NewObjectLRU(16*cache.MiByte))
	commit, err := fetchCommit(ctx, dial, s.Revision, store, o)
	if err != nil {
		return "", err
	}
	tree, err := commit.Tree()
	if err == nil && s.Path != "" {
		tree, err = tree.Tree(s.Path)
	}
	if errors.Is(err, object.ErrDirectoryNotFound) {
		return "", authors("the commit %s has no folder %q: correct git.path", commit.Hash, s.Path)
	}
	if err != nil {
		return "", passing("reading commit %s: %w", commit.Hash, err)
	}
	return commit.Hash.String(), write(ctx, store, tree, dir, o.Limits)
}

// session is a conversation with a git server; done ends it.
type session func(ctx context.Context) (s transport.UploadPackSession, done func(), err error)

func dialGit(ctx context.Context, s v1alpha1.GitSource, credentials map[string][]byte, tmp string, o Options) (session, error) {
	ep, err := transport.NewEndpoint(s.URL)
	if err != nil {
		return nil, authors("git.url is no URL of a repository: %w", err)
	}
	switch ep.Protocol {
	case "https":
		return dialHTTPS(ep, credentials, o)
	case "ssh":
		return dialSSH(ctx, ep, credentials, tmp, o)
	}
	return nil, authors("git.url begins with %s://: use https:// or ssh://", ep.Protocol)
}

func dialHTTPS(ep *transport.Endpoint, credentials map[string][]byte, o Options) (session, error) {
	var auth transport.AuthMethod
	if password := credentials["password"]; len(password) > 0 {
		user := strings.TrimSpace(string(credentials["username"]))
		if user == "" {
			user = "git" // servers that take a token as password look at it only
		}
		auth = &githttp.BasicAuth{Username: user, Password: strings.TrimSpace(string(password))}
	}
	client, idle, err := o.client(credentials["ca.crt"], sameHost)
	if err != nil {
		return nil, err
	}
	return func(context.Context) (transport.UploadPackSession, func(), error) {
		s, err := githttp.NewClient(client).NewUploadPackSession(ep, auth)
		return s, idle, err
	}, nil
}

// identity is a key together with the keys by which the server is known.
type identity struct {
	*gitssh.PublicKeys
	algorithms []string
	patience   time.Duration
}

// ClientConfig lets the server show a kind of key that is known, as it may have others.
func (i *identity) ClientConfig() (*ssh.ClientConfig, error) {
	c, err := i.PublicKeys.ClientConfig()
	if err == nil {
		c.HostKeyAlgorithms, c.Timeout = i.algorithms, i.patience
	}
	return c, err
}

func dialSSH(ctx context.Context, ep *transport.Endpoint, credentials map[string][]byte, tmp string, o Options) (session, error) {
	if len(credentials["identity"]) == 0 || len(credentials["known_hosts"]) == 0 {
		return nil, authors("ssh wants identity (a private key) and known_hosts in the Secret that git.secret names")
	}
	user := ep.User
	if user == "" {
		user = "git"
	}
	keys, err := gitssh.NewPublicKeys(user, credentials["identity"], "")
	if err != nil {
		return nil, authors("identity in the source's Secret is no private key that can be used (has it a passphrase?): %w", err)
	}
	file := filepath.Join(tmp, "known_hosts")
	if err := os.WriteFile(file, credentials["known_hosts"], 0o600); err != nil {
		return nil, err
	}
	known, err := knownhosts.NewDB(file)
	if err != nil {
		return nil, authors("known_hosts in the source's Secret cannot be read: %w", err)
	}
	port := ep.Port
	if port == 0 {
		port = gitssh.DefaultPort
	}
	name := ep.Host + ":" + strconv.Itoa(port)
	check := known.HostKeyCallback()
	// The address is what is dialled, so that it is the one that was looked at; the name is what the server is known by.
	keys.HostKeyCallback = func(_ string, remote net.Addr, key ssh.PublicKey) error { return check(name, remote, key) }
	at := *ep
	if at.Host, err = o.vetted(ctx, ep.Host); err != nil {
		return nil, err
	}
	return func(context.Context) (transport.UploadPackSession, func(), error) {
		s, err := gitssh.DefaultClient.NewUploadPackSession(&at, &identity{keys, known.HostKeyAlgorithms(name), o.dialer().Timeout})
		return s, func() {}, err
	}, nil
}

// fetchCommit gets one commit without its history; where a server does not give away a commit by its hash, with that of all branches.
func fetchCommit(ctx context.Context, dial session, revision string, store storer.Storer, o Options) (*object.Commit, error) {
	session, done, err := dial(ctx)
	if err != nil {
		return nil, gitFailure("reaching the repository", err)
	}
	defer done()
	defer func() { _ = session.Close() }()
	refs, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return nil, gitFailure("reading the repository's branches", err)
	}
	hash, err := resolve(refs, revision)
	if err != nil {
		return nil, err
	}
	req := packp.NewUploadPackRequest()
	if refs.Capabilities.Supports(capability.OFSDelta) {
		_ = req.Capabilities.Set(capability.OFSDelta)
	}
	req.Wants = []plumbing.Hash{hash}
	if !advertised(refs, hash) && !refs.Capabilities.Supports(capability.AllowReachableSHA1InWant) && !refs.Capabilities.Supports("allow-any-sha1-in-want") {
		req.Wants = all(refs)
	} else if refs.Capabilities.Supports(capability.Shallow) {
		req.Depth = packp.DepthCommits(1)
		_ = req.Capabilities.Set(capability.Shallow)
	}
	resp, err := session.UploadPack(ctx, req)
	if err != nil {
		return nil, gitFailure("fetching "+revision, err)
	}
	err = packfile.UpdateObjectStorage(store, &capped{resp, o.Wire})
	if err = errors.Join(err, ignoreClosed(resp.Close())); err != nil {
		return nil, gitFailure("fetching "+revision, err)
	}
	return commitOf(store, hash, revision)
}

// commitOf follows annotated tags.
func commitOf(store storer.EncodedObjectStorer, hash plumbing.Hash, revision string) (*object.Commit, error) {
	for range 8 {
		tag, err := object.GetTag(store, hash)
		if err != nil {
			break
		}
		hash = tag.Target
	}
	commit, err := object.GetCommit(store, hash)
	if err != nil {
		return nil, authors("the repository has no commit at %q that a branch or tag leads to: correct git.revision", revision)
	}
	return commit, nil
}

// resolve says what a revision is, in the order of git itself: a whole hash, a tag, a branch.
func resolve(refs *packp.AdvRefs, revision string) (plumbing.Hash, error) {
	if len(revision) == 40 && plumbing.IsHash(revision) {
		return plumbing.NewHash(revision), nil
	}
	for _, name := range []string{revision, "refs/tags/" + revision, "refs/heads/" + revision} {
		if hash, ok := refs.References[name]; ok {
			return hash, nil
		}
	}
	if revision == "HEAD" && refs.Head != nil {
		return *refs.Head, nil
	}
	return plumbing.ZeroHash, authors("the repository has no branch or tag %q: correct git.revision (a commit is written with all its 40 digits)", revision)
}

func advertised(refs *packp.AdvRefs, hash plumbing.Hash) bool {
	for _, h := range refs.References {
		if h == hash {
			return true
		}
	}
	return false
}

func all(refs *packp.AdvRefs) (hashes []plumbing.Hash) {
	seen := map[plumbing.Hash]bool{}
	for name, h := range refs.References {
		if (strings.HasPrefix(name, "refs/heads/") || strings.HasPrefix(name, "refs/tags/")) && !seen[h] {
			seen[h] = true
			hashes = append(hashes, h)
		}
	}
	return hashes
}

// write writes a tree's files. What is neither file nor folder is refused.
func write(ctx context.Context, store storer.EncodedObjectStorer, tree *object.Tree, dir string, limits run.Limits) (err error) {
	to, err := run.OpenTree(dir, limits)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	walk := object.NewTreeWalker(tree, true, nil)
	defer walk.Close()
	for ctx.Err() == nil {
		name, entry, err := walk.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return passing("reading the commit's files: %w", err)
		}
		if err := writeOne(store, to, name, entry); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func writeOne(store storer.EncodedObjectStorer, to *run.Tree, name string, entry object.TreeEntry) error {
	if entry.Mode == filemode.Dir {
		return to.Add(name, os.ModeDir, 0, nil)
	}
	if !entry.Mode.IsFile() || entry.Mode == filemode.Symlink { // or a submodule
		return to.Add(name, os.ModeIrregular, 0, nil)
	}
	m := os.FileMode(0o644)
	if entry.Mode == filemode.Executable {
		m = 0o755
	}
	blob, err := object.GetBlob(store, entry.Hash)
	if err != nil {
		return passing("reading %q of the commit: %w", name, err)
	}
	r, err := blob.Reader()
	if err != nil {
		return passing("reading %q of the commit: %w", name, err)
	}
	return errors.Join(to.Add(name, m, blob.Size, r), r.Close())
}

// capped reads so much and no more.
type capped struct {
	io.Reader
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// gitFailure says whose turn it is after trouble with a repository.
func gitFailure(what string, err error) error {
	var status *githttp.Err
	if shut, ok := errors.AsType[*plumbing.UnexpectedError](err); ok { // it does not unwrap
		err = shut.Err
	}
	var unknown *hostkeys.KeyError
	switch {
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed),
		strings.Contains(err.Error(), "unable to authenticate"): // x/crypto/ssh has no type for it
		return authors("%s: the server does not take the credentials: correct the Secret that git.secret names", what)
	case errors.Is(err, transport.ErrRepositoryNotFound), errors.Is(err, transport.ErrEmptyRemoteRepository):
		return authors("%s: there is none, it is empty, or the credentials do not show it: correct git.url or git.secret", what)
	case errors.As(err, &unknown):
		return authors("%s: known_hosts in the source's Secret does not know the server's key: %w", what, err)
	case errors.As(err, &status) && status.StatusCode() >= 400 && status.StatusCode() < 500 && status.StatusCode() != http.StatusTooManyRequests:
		return authors("%s: the server answers %d: correct git.url", what, status.StatusCode())
	}
	return network(what, err)
}

// ignoreClosed: a server may have closed first.
func ignoreClosed(err error) error {
	if err != nil && (errors.Is(err, io.EOF) || strings.Contains(err.Error(), "exited with status")) {
		return fmt.Errorf("ending the conversation: %w", err)
	}
	return nil
}
