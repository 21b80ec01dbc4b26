package debugserver

import (
	"fmt"
	"strings"
)

// gdbDescription is GDB manual, appendix "Target Descriptions". The types are those of gdb/features.
func gdbDescription(f *registerFile) string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target version="1.0">`)
	fmt.Fprintf(&b, "<architecture>%s</architecture><osabi>GNU/Linux</osabi>", gdbArchitecture)
	feature := ""
	for _, r := range f.list {
		if r.feature != feature {
			if feature != "" {
				b.WriteString("</feature>")
			}
			feature = r.feature
			fmt.Fprintf(&b, `<feature name="%s">%s`, feature, gdbTypes[feature])
		}
		fmt.Fprintf(&b, `<reg name="%s" bitsize="%d" type="%s" regnum="%d"`, r.name, 8*r.size, r.typ, r.number)
		if group := gdbGroups[r.group]; group != "" {
			fmt.Fprintf(&b, ` group="%s"`, group)
		}
		b.WriteString("/>")
	}
	b.WriteString("</feature></target>")
	return b.String()
}

// gdbGroups are the groups that are not gdb's guess.
var gdbGroups = map[string]string{"float": "float", "vector": "vector", "system": "system"}

const vectorTypes = `<vector id="v4f" type="ieee_single" count="4"/><vector id="v2d" type="ieee_double" count="2"/>` +
	`<vector id="v16i8" type="int8" count="16"/><vector id="v8i16" type="int16" count="8"/>` +
	`<vector id="v4i32" type="int32" count="4"/><vector id="v2i64" type="int64" count="2"/>` +
	`<union id="%s"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>` +
	`<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/><field name="v4_int32" type="v4i32"/>` +
	`<field name="v2_int64" type="v2i64"/><field name="uint128" type="uint128"/></union>`

var gdbTypes = map[string]string{
	"org.gnu.gdb.i386.core": flagsType("i386_eflags", "CF 0", "@ 1", "PF 2", "AF 4", "ZF 6", "SF 7", "TF 8", "IF 9",
		"DF 10", "OF 11", "NT 14", "RF 16", "VM 17", "AC 18", "VIF 19", "VIP 20", "ID 21"),
	"org.gnu.gdb.i386.sse": fmt.Sprintf(vectorTypes, "vec128") + flagsType("i386_mxcsr", "IE 0", "DE 1", "ZE 2", "OE 3",
		"UE 4", "PE 5", "DAZ 6", "IM 7", "DM 8", "ZM 9", "OM 10", "UM 11", "PM 12", "FZ 15"),
	"org.gnu.gdb.aarch64.fpu": fmt.Sprintf(vectorTypes, "aarch64v"),
}

// flagsType is a register of single bits; "@" has no name.
func flagsType(id string, bits ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<flags id="%s" size="4">`, id)
	for _, bit := range bits {
		name, at, _ := strings.Cut(bit, " ")
		fmt.Fprintf(&b, `<field name="%s" start="%s" end="%s" type="bool"/>`, strings.Trim(name, "@"), at, at)
	}
	b.WriteString("</flags>")
	return b.String()
}

// lldbDescription is the form of lldb-server (LLDB, "qXfer:features:read:target.xml").
func lldbDescription(f *registerFile) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<?xml version="1.0"?><target version="1.0"><architecture>%s</architecture><feature>`, lldbArchitecture)
	offset := 0
	for _, r := range f.list {
		encoding, format := "uint", "hex"
		if r.size > 8 {
			encoding, format = "vector", "vector-uint8"
		}
		fmt.Fprintf(&b, `<reg name="%s" bitsize="%d" regnum="%d" offset="%d" encoding="%s" format="%s" group="%s"`,
			r.name, 8*r.size, r.number, offset, encoding, format, r.group)
		if r.dwarf >= 0 {
			fmt.Fprintf(&b, ` ehframe_regnum="%d" dwarf_regnum="%d"`, r.dwarf, r.dwarf)
		}
		if r.generic != "" {
			fmt.Fprintf(&b, ` generic="%s"`, r.generic)
		}
		b.WriteString("/>")
		offset += r.size
	}
	b.WriteString("</feature></target>")
	return b.String()
}
