package release

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path"
	"runtime/debug"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// Binary is a program as the linker left it.
type Binary struct {
	Arch, Path string // of the image, and in it
	Size       int
	SHA256     string
	Info       *debug.BuildInfo // nil: it was not made by Go
}

func readBinary(path string) (Binary, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return Binary{}, err
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		info = nil
	}
	sum := sha256.Sum256(content)
	return Binary{Size: len(content), SHA256: hex.EncodeToString(sum[:]), Info: info}, nil
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
	}}
	if len(made.Added) == 0 { // of what was added we know no licence
		bom.Metadata.Component.Licenses = &cdx.Licenses{{Expression: p.licenses}}
	}
	modules, programs := map[string]cdx.Component{}, []string{}
	all, depends := []cdx.Component{}, []cdx.Dependency{{Ref: made.Digest, Dependencies: &programs}}
	for _, binary := range made.Binaries {
		ref := "linux/" + binary.Arch + binary.Path
		programs = append(programs, ref)
		component := cdx.Component{
			BOMRef: ref, Type: cdx.ComponentTypeApplication, Name: path.Base(binary.Path),
			Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: binary.SHA256}},
		}
		if binary.Info == nil {
			all = append(all, component)
			continue
		}
		module, version := programOf(binary.Info, stamp)
		component.Name, component.Version, component.PackageURL = binary.Info.Path, version, packageURL(module, version)
		all = append(all, component)
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

// programOf is the module that a binary is the program of, and its version. An engine is built in a module that requires its own.
func programOf(info *debug.BuildInfo, stamp string) (module, version string) {
	if below(info.Path, info.Main.Path) {
		if below(info.Main.Path, strings.TrimPrefix(source, "https://")) {
			return info.Main.Path, stamp
		}
		return info.Main.Path, info.Main.Version
	}
	for _, m := range info.Deps {
		if below(info.Path, m.Path) && len(m.Path) > len(module) {
			module, version = m.Path, m.Version
		}
	}
	return module, version
}

// below tells whether a package is of a module, as far as its path says.
func below(pkg, module string) bool { return pkg == module || strings.HasPrefix(pkg, module+"/") }

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
		case strings.HasPrefix(m.Replace.Path, ".") && below(m.Path, strings.TrimPrefix(source, "https://")): // of the same commit
			add(m.Path, stamp)
		case strings.HasPrefix(m.Replace.Path, "."): // an engine's own source, with our edits
			add(m.Path, m.Version)
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
