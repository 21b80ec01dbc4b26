package main

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"runtime/debug"
	"slices"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/package-url/packageurl-go"
)

// bill is the software bill of materials of a program, as CycloneDX in JSON: the Go modules that the linker has recorded in it and in what
// it carries, and the Go standard library.
func (p program) bill(own *debug.BuildInfo) ([]byte, error) {
	modules := map[string]cyclonedx.Component{}
	add := func(info *debug.BuildInfo) {
		std := debug.Module{Path: "stdlib", Version: info.GoVersion}
		for _, m := range append(info.Deps, &std) {
			for m.Replace != nil {
				m = m.Replace
			}
			c := component(m.Path, m.Version, cyclonedx.ComponentTypeLibrary)
			modules[c.BOMRef] = c
		}
	}
	add(own)
	for _, file := range p.carries {
		info, err := buildinfo.ReadFile(file)
		if err != nil {
			return nil, err
		}
		add(info)
	}
	var sorted []cyclonedx.Component
	for _, c := range modules {
		sorted = append(sorted, c)
	}
	slices.SortFunc(sorted, func(a, b cyclonedx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })
	bom := cyclonedx.NewBOM()
	main := component(own.Main.Path, own.Main.Version, cyclonedx.ComponentTypeApplication)
	main.Description = p.name + " for " + p.os + "/" + p.arch
	bom.Metadata = &cyclonedx.Metadata{Component: &main}
	bom.Components = &sorted
	var out bytes.Buffer
	err := cyclonedx.NewBOMEncoder(&out, cyclonedx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
	return out.Bytes(), err
}

func component(path, version string, kind cyclonedx.ComponentType) cyclonedx.Component {
	url := packageurl.NewPackageURL(packageurl.TypeGolang, "", path, version, nil, "").ToString()
	return cyclonedx.Component{Type: kind, BOMRef: url, PackageURL: url, Name: path, Version: version}
}
