package release

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// checkRuns starts the program as its user in a root that holds nothing else, without any variable.
func checkRuns(t *testing.T, tree string, img v1.Image) {
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("only root on Linux runs it in a root of its own")
	}
	cmd := exec.Command("/broletto", "--version")
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: tree, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("broletto --version: %v: %s", err, out)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	labels := config.Config.Labels
	want := labels["org.opencontainers.image.version"] + "+" + labels["org.opencontainers.image.revision"][:12]
	if !strings.Contains(string(out), want) {
		t.Errorf("broletto --version says %s, want %s", out, want)
	}
}
