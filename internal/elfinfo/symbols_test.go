package elfinfo_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
)

// Every function that package elf finds is found, at its first byte, in its middle and at its last.
func TestFunctions(t *testing.T) {
	for what, path := range map[string]string{
		"all symbols":     gcc(t, "-static"),
		"dynamic symbols": gcc(t, "-shared", "-fPIC", "-s"),
		"Go":              goBuild(t, "CGO_ENABLED=0", "go", "build"),
	} {
		t.Run(what, func(t *testing.T) {
			f, err := elf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			symbols, err := f.Symbols()
			if errors.Is(err, elf.ErrNoSymbols) {
				symbols, err = f.DynamicSymbols()
			}
			if err != nil {
				t.Fatal(err)
			}
			symbols = slices.DeleteFunc(symbols, func(s elf.Symbol) bool {
				return elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Section == elf.SHN_UNDEF || s.Size == 0
			})
			if len(symbols) == 0 {
				t.Fatal("no function: this proves nothing")
			}
			var addresses []uint64
			for _, s := range symbols {
				addresses = append(addresses, s.Value, s.Value+s.Size/2, s.Value+s.Size-1)
			}
			found, err := elfinfo.Functions(path, "", addresses)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range addresses {
				got := found[a]
				if !slices.ContainsFunc(symbols, func(s elf.Symbol) bool {
					return s.Name == got.Name && s.Value == got.Value && s.Value <= a && a < s.Value+s.Size
				}) {
					t.Errorf("%#x is in %+v", a, got)
				}
			}
		})
	}
}

// Code of assembly has no size: the nearest symbol before it is named. Beyond a function that has one nothing is.
func TestFunctionsWithoutSize(t *testing.T) {
	path := build(t, ".text\n.type before, @function\n.globl before\nbefore: nop\nnop\nnop\n.type after, @function\n.globl after\nafter: nop\n.size after, 1\n.skip 64\n",
		"code.s", "gcc", "-shared", "-nostdlib")
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]uint64{}
	for _, s := range symbols {
		at[s.Name] = s.Value
	}
	found, err := elfinfo.Functions(path, "", []uint64{at["before"] - 1, at["before"] + 2, at["after"]})
	if err != nil {
		t.Fatal(err)
	}
	if got := found[at["before"]-1]; got.Name != "" {
		t.Errorf("in front of all there is %+v", got)
	}
	if got := found[at["before"]+2]; got.Name != "before" || got.Value != at["before"] {
		t.Errorf("without a size: %+v", got)
	}
	if got := found[at["after"]]; got.Name != "after" {
		t.Errorf("with a size: %+v", got)
	}
}

// The names of another file would mislead.
func TestFunctionsOfAnotherFile(t *testing.T) {
	path := gcc(t)
	info, err := elfinfo.Read(path)
	if err != nil || info.BuildID == "" {
		t.Fatalf("%+v, %v", info, err)
	}
	if _, err := elfinfo.Functions(path, info.BuildID, nil); err != nil {
		t.Error(err)
	}
	if _, err := elfinfo.Functions(path, "00"+info.BuildID[2:], nil); err == nil {
		t.Error("another build-id is taken")
	}
	if _, err := elfinfo.Functions(path+".not", "", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// A table whose header says that it is compressed, which tables are not, is as one that is not there.
func TestFunctionsOfACompressedTable(t *testing.T) {
	path := gcc(t)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	e, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := e.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	main := symbols[slices.IndexFunc(symbols, func(s elf.Symbol) bool { return s.Name == "main" })].Value
	const sectionHeaders, flags = 0x28, 8 // e_shoff of Elf64_Ehdr, sh_flags of Elf64_Shdr (elf(5))
	for i, s := range e.Sections {
		if s.Type == elf.SHT_SYMTAB {
			at := e.ByteOrder.Uint64(b[sectionHeaders:]) + uint64(i*binary.Size(elf.Section64{})) + flags
			e.ByteOrder.PutUint64(b[at:], uint64(s.Flags|elf.SHF_COMPRESSED))
		}
	}
	broken := filepath.Join(t.TempDir(), "compressed")
	if err := os.WriteFile(broken, b, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{path: "main", broken: ""} {
		found, err := elfinfo.Functions(path, "", []uint64{main})
		if err != nil || found[main].Name != want {
			t.Errorf("%+v, %v; not %q", found, err, want)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		file, err := elfinfo.NewFunctionFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var each string
		if err := file.Each(func(f elfinfo.Function) {
			if f.Value == main {
				each = f.Name
			}
		}); err != nil {
			t.Fatal(err)
		}
		if at, _ := file.At(main); at.Name != want || each != want {
			t.Errorf("%+v and %q, not %q", at, each, want)
		}
	}
}
