package carried

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
)

// decompress reads what zstd has compressed. The standard library's decompressor can be reached through package debug/elf only, which is linked
// for other reasons: a section of an ELF file may be compressed so (System V gABI, ELFCOMPRESS_ZSTD). Any other one costs every start
// 0.15 ms (github.com/klauspost/compress/zstd, measured), or is larger than what it saves.
func decompress(compressed []byte) (io.Reader, error) {
	const head, section, chdr = 64, 64, 24 // sizes in bytes
	var file bytes.Buffer
	for _, part := range []any{
		elf.Header64{
			Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:  uint16(elf.ET_REL), Version: uint32(elf.EV_CURRENT),
			Ehsize: head, Shoff: head, Shentsize: section, Shnum: 2,
		},
		elf.Section64{},
		elf.Section64{Type: uint32(elf.SHT_PROGBITS), Flags: uint64(elf.SHF_COMPRESSED), Off: head + 2*section, Size: uint64(chdr + len(compressed))},
		elf.Chdr64{Type: uint32(elf.COMPRESS_ZSTD), Addralign: 1},
	} {
		_ = binary.Write(&file, binary.LittleEndian, part)
	}
	file.Write(compressed)
	wrapped, err := elf.NewFile(bytes.NewReader(file.Bytes()))
	if err != nil {
		return nil, err
	}
	return wrapped.Sections[1].Open(), nil
}
