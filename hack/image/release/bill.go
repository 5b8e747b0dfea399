package release

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// Binary is a program as the linker left it.
type Binary struct {
	Size   int
	SHA256 string
	Go     string // such as go1.26.8
	Info   *debug.BuildInfo
}

func readBinary(path string) (Binary, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return Binary{}, err
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return Binary{}, err
	}
	sum := sha256.Sum256(content)
	return Binary{Size: len(content), SHA256: hex.EncodeToString(sum[:]), Go: info.GoVersion, Info: info}, nil
}

// writeBill writes the bill of materials, in the format of CycloneDX: the image, its binaries, and the modules that the linker says
// are in each. It holds no time, and its serial number is of the image's digest, so that it is as reproducible as the image.
func writeBill(p program, repository, stamp string, made Made) error {
	bom := cdx.NewBOM()
	bom.SerialNumber = serial(made.Digest)
	bom.Metadata = &cdx.Metadata{Component: &cdx.Component{
		BOMRef: made.Digest, Type: cdx.ComponentTypeContainer, Name: repository, Version: stamp, Description: p.description,
		PackageURL: "pkg:oci/" + p.name + "@" + url.QueryEscape(made.Digest) + "?repository_url=" + repository,
		Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: strings.TrimPrefix(made.Digest, "sha256:")}},
		Licenses:   &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
	}}
	modules, programs := map[string]cdx.Component{}, []string{}
	all, depends := []cdx.Component{}, []cdx.Dependency{{Ref: made.Digest, Dependencies: &programs}}
	for _, arch := range slices.Sorted(maps.Keys(made.Binaries)) {
		binary, ref := made.Binaries[arch], "linux/"+arch+"/"+p.name
		programs = append(programs, ref)
		all = append(all, cdx.Component{
			BOMRef: ref, Type: cdx.ComponentTypeApplication, Name: binary.Info.Path, Version: stamp, PackageURL: packageURL(binary.Info.Main.Path, stamp),
			Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: binary.SHA256}},
		})
		inside := components(binary.Info, stamp)
		refs := slices.Sorted(maps.Keys(inside))
		depends = append(depends, cdx.Dependency{Ref: ref, Dependencies: &refs})
		maps.Copy(modules, inside)
	}
	for _, ref := range slices.Sorted(maps.Keys(modules)) {
		all = append(all, modules[ref])
	}
	bom.Components, bom.Dependencies = &all, &depends
	return writeJSON(made.Bill, bom)
}

// components are the modules of a binary, and the standard library, by their reference.
func components(info *debug.BuildInfo, stamp string) map[string]cdx.Component {
	all := map[string]cdx.Component{}
	add := func(path, version string) {
		ref := packageURL(path, version)
		all[ref] = cdx.Component{BOMRef: ref, Type: cdx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: ref}
	}
	add("std", strings.TrimPrefix(info.GoVersion, "go"))
	for _, m := range info.Deps {
		switch {
		case m.Replace == nil:
			add(m.Path, m.Version)
		case strings.HasPrefix(m.Replace.Path, "."): // a module of this repository, so of the same commit
			add(m.Path, stamp)
		default:
			add(m.Replace.Path, m.Replace.Version)
		}
	}
	return all
}

func packageURL(path, version string) string {
	return "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
}

// serial makes a digest a UUID of version 8, that of free content.
func serial(digest string) string {
	b, _ := hex.DecodeString(strings.TrimPrefix(digest, "sha256:"))
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func writeJSON(path string, bom *cdx.BOM) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	// Not the newest version of the format: scanners read it only later.
	if err := cdx.NewBOMEncoder(f, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
