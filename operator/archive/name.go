package archive

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Folders of a tenant.
const (
	keysFolder      = "keys/"
	manifestsFolder = "manifests/"
	removedFolder   = "removed/"
	objectsFolder   = "objects/"
	clockFolder     = "clock/"

	generationsFolder = "generations/"
	drillsFolder      = "drills/"
)

var (
	label    = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	pageName = regexp.MustCompile(`^[0-9a-f]{64}(\.[0-9a-f]{8})?$`)
)

// lastSequence is the last number of ten digits.
const lastSequence = 9_999_999_999

// numbered is the name of a workspace's manifest, or of its removal.
func numbered(tenant, folder, workspace string, sequence int64) string {
	return fmt.Sprintf("%s/%s%s/%010d", tenant, folder, workspace, sequence)
}

// parseNumber reads the number at the end of a name.
func parseNumber(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || len(text) != 10 || n < 1 || fmt.Sprintf("%010d", n) != text {
		return 0, fmt.Errorf("%q is no number of a backup", text)
	}
	return n, nil
}

// check refuses names that would reach into another tenant or workspace.
func check(what, name string) error {
	if !label.MatchString(name) {
		return fmt.Errorf("%q is no name of a %s: it is lower-case letters, digits and dashes, at most 63", name, what)
	}
	return nil
}

// tenantOf is the first part of a name.
func tenantOf(name string) (tenant, rest string) {
	tenant, rest, _ = strings.Cut(name, "/")
	return tenant, rest
}
