package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/embedded"
)

//go:embed testdata
var programs embed.FS

// loops are what people write who have an engine and a shell: one folder after the other, as many at a time as there are cores.
var loops = map[v1alpha1.EngineName]string{
	v1alpha1.OpenTofu: `ls | xargs -P "$CORES" -I{} sh -ec 'cd {}
		tofu init -input=false -no-color
		tofu plan -input=false -no-color -out=plan
		tofu apply -input=false -no-color plan' > ../log 2>&1`,
	v1alpha1.Pulumi: `ls | xargs -P "$CORES" -I{} sh -ec 'cd {}
		pulumi stack init stack --non-interactive
		pulumi config set name "$(cat name)" --stack stack
		pulumi config set namespace "$NAMESPACE" --stack stack
		pulumi preview --stack stack --non-interactive --color never --refresh --save-plan plan
		pulumi up --stack stack --non-interactive --color never --refresh --plan plan --skip-preview' > ../log 2>&1`,
}

// program is the code of every stack here, by file name.
func (f *forge) program() map[string]string {
	folder := "testdata/" + strings.ToLower(string(f.engine))
	entries, err := programs.ReadDir(folder)
	if err != nil {
		panic(err) // it is compiled in
	}
	out := map[string]string{}
	for _, e := range entries {
		text, _ := programs.ReadFile(folder + "/" + e.Name()) // it was just listed
		out[e.Name()] = string(text)
	}
	return out
}

// shell has a loop of a shell do n stacks, each in a folder of its own.
func (f *forge) shell(ctx context.Context, name string, n int) (stackSide, error) {
	root := filepath.Join(f.dir, "shell-"+name)
	for i := range n {
		if err := f.folder(root, fmt.Sprintf("%s-%03d", name, i)); err != nil {
			return stackSide{}, err
		}
	}
	env, err := f.shellEnv(root)
	if err != nil {
		return stackSide{}, err
	}
	return f.side(ctx, "shell", n, func() error {
		command := exec.CommandContext(ctx, "/bin/sh", "-ec", loops[f.engine])
		command.Dir, command.Env = filepath.Join(root, "stacks"), env
		if err := command.Run(); err != nil {
			log, _ := os.ReadFile(filepath.Join(root, "log"))
			return fmt.Errorf("%w\n%s", err, log[max(0, len(log)-4096):])
		}
		return nil
	})
}

// folder is one stack's, with its code and variables.
func (f *forge) folder(root, name string) error {
	dir := filepath.Join(root, "stacks", name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	files := f.program()
	for variable, value := range f.variables(name, shellIn) {
		files["terraform.tfvars"] += variable + " = " + value + "\n"
	}
	files["name"] = name
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// makeAccount makes who the shell is: an editor of its workspace, as the account of a stack is.
func (f *forge) makeAccount(ctx context.Context) (string, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace(shellIn), Name: "shell"}}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: account.ObjectMeta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "broletto-workspace-edit"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: account.Namespace, Name: account.Name}},
	}
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(24 * 3600))}}
	if err := errors.Join(f.admin.Create(ctx, account), f.admin.Create(ctx, binding.DeepCopy()), f.admin.SubResource("token").Create(ctx, account, token)); err != nil {
		return "", fmt.Errorf("making an account for the shell: %w", err)
	}
	return token.Status.Token, nil
}

// shellEnv is the environment of the loop: the engines on PATH, their providers from the mirror, and the shell's account.
func (f *forge) shellEnv(root string) ([]string, error) {
	cfg, err := f.cluster.Admin()
	if err != nil {
		return nil, err
	}
	server, err := url.Parse(cfg.Host)
	if err != nil {
		return nil, err
	}
	who := &rest.Config{Host: cfg.Host, TLSClientConfig: rest.TLSClientConfig{CAData: cfg.CAData}, BearerToken: f.account}
	kubeconfig := filepath.Join(root, "kubeconfig")
	if err := embedded.WriteKubeconfig(kubeconfig, who, f.namespace(shellIn)); err != nil {
		return nil, err
	}
	settings := fmt.Sprintf("disable_checkpoint = true\nprovider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", filepath.Join(f.engines, "providers"))
	for file, text := range map[string]string{"tofurc": settings, "token": f.account, "ca.crt": string(cfg.CAData), "namespace": f.namespace(shellIn)} {
		if err := os.WriteFile(filepath.Join(root, file), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return []string{
		"PATH=" + f.engines + ":/usr/bin:/bin", "HOME=" + root, "KUBECONFIG=" + kubeconfig, "KUBE_CONFIG_PATH=" + kubeconfig,
		"TF_CLI_CONFIG_FILE=" + filepath.Join(root, "tofurc"), "CORES=" + strconv.Itoa(f.report.Cores), "NAMESPACE=" + f.namespace(shellIn),
		"BROLETTO_SERVICEACCOUNT=" + root, "KUBERNETES_SERVICE_HOST=" + server.Hostname(), "KUBERNETES_SERVICE_PORT=" + server.Port(),
		"PULUMI_BACKEND_URL=file://" + root, "PULUMI_CONFIG_PASSPHRASE=bench", "PULUMI_SKIP_UPDATE_CHECK=true", "PULUMI_EXPERIMENTAL=true",
	}, nil
}
