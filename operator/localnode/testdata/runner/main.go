// Command runner stands in for broletto-runner in the tests of the local node: it does what FAKE in its environment says.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	switch what, argument, _ := strings.Cut(os.Getenv("FAKE"), ":"); what {
	case "look":
		look()
	case "exit":
		code, _ := strconv.Atoi(argument)
		fmt.Fprintln(os.Stderr, "going to fail")
		os.Exit(code)
	case "term": // ends in order when asked to
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("waiting")
		<-c
		fmt.Println("asked to end")
	case "stay": // with a grandchild in a session of its own, and none of them ends when asked to
		start("FAKE=parent")
		stay()
	case "parent":
		start("FAKE=leaf")
		stay()
	case "leaf":
		fmt.Println("leaf lives")
		stay()
	}
}

// stay waits for the end, whatever it is asked.
func stay() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	for {
		<-c
	}
}

func start(what string) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "FAKE=") }), what)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// look prints all that it finds around itself.
func look() {
	for _, e := range slices.Sorted(slices.Values(os.Environ())) {
		fmt.Println("env", e)
	}
	fmt.Println("uid", os.Getuid(), "gid", os.Getgid())
	here, err := os.Getwd()
	fmt.Println("cwd", here, err)
	for _, file := range []string{os.Getenv("BROLETTO_TOKEN"), os.Getenv("BROLETTO_SERVICEACCOUNT") + "/token"} {
		token, err := os.ReadFile(file)
		fmt.Println("token", string(token), err)
	}
	for _, file := range []string{"ca.crt", "namespace"} {
		text, err := os.ReadFile(filepath.Join(os.Getenv("BROLETTO_SERVICEACCOUNT"), file))
		fmt.Println(file, len(text), strings.ReplaceAll(string(text), "\n", " "), err)
	}
	fmt.Println("work", os.WriteFile(filepath.Join(os.Getenv("BROLETTO_WORK"), "file"), []byte("x"), 0o600))
	fmt.Println("root", os.WriteFile("/file", nil, 0o600))
	engine, err := os.ReadFile(os.Getenv("BROLETTO_ENGINES") + "/engine")
	fmt.Println("engine", string(engine), err)
	entries, err := os.ReadDir("/")
	fmt.Println("ls", entries, err)
	processes, err := filepath.Glob("/proc/[0-9]*")
	fmt.Println("ps", processes, err)
	status, err := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), ":"); name == "CapEff" || name == "CapBnd" || name == "NoNewPrivs" {
			fmt.Println(name, strings.TrimSpace(value), err)
		}
	}
	var files syscall.Rlimit
	fmt.Println("nofile", syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files), files.Max)
}
