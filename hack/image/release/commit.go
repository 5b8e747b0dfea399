package release

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// commit is what git knows of a checkout.
type commit struct {
	hash  string
	time  time.Time
	dirty bool
}

// stamp is the version that the program tells, with the commit as semantic versioning has it.
func (c commit) stamp(version string) string {
	return version + "+" + c.hash[:12]
}

func head(ctx context.Context, root string) (commit, error) {
	last, err := git(ctx, root, "log", "-1", "--format=%H %ct")
	if err != nil {
		return commit{}, err
	}
	hash, at, _ := strings.Cut(last, " ")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return commit{}, fmt.Errorf("time of the commit in %s: %w", root, err)
	}
	changes, err := git(ctx, root, "status", "--porcelain")
	return commit{hash: hash, time: time.Unix(seconds, 0).UTC(), dirty: changes != ""}, err
}

func git(ctx context.Context, root string, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s in %s: %w: %s; an image is made from a clone, since it tells its commit", args[0], root, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}
