package image

import (
	"fmt"
	"io/fs"
	"os/exec"
	"strings"
)

// Busybox are the files of an image with a shell and its tools: the static busybox at path, which runs here, under each of its names in /bin.
func Busybox(path string) ([]File, error) {
	out, err := exec.Command(path, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --list: %w; Debian's package busybox-static has it", path, err)
	}
	files := []File{
		{Path: "/bin/busybox", From: path, Mode: 0o755},
		{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
	}
	for applet := range strings.FieldsSeq(string(out)) {
		if applet != "busybox" {
			files = append(files, File{Path: "/bin/" + applet, Link: "busybox"})
		}
	}
	return files, nil
}
