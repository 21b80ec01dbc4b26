//go:build linux

package debugserver

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
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
			fmt.Fprintf(&b, `<feature name="%s">%s`, feature, gdbTypes()[feature])
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

const vectorTypes = `<vector id="v8bf16" type="bfloat16" count="8"/><vector id="v8h" type="ieee_half" count="8"/>` +
	`<vector id="v4f" type="ieee_single" count="4"/><vector id="v2d" type="ieee_double" count="2"/>` +
	`<vector id="v16i8" type="int8" count="16"/><vector id="v8i16" type="int16" count="8"/>` +
	`<vector id="v4i32" type="int32" count="4"/><vector id="v2i64" type="int64" count="2"/>` +
	`<union id="%s"><field name="v8_bfloat16" type="v8bf16"/><field name="v8_half" type="v8h"/><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>` +
	`<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/><field name="v4_int32" type="v4i32"/>` +
	`<field name="v2_int64" type="v2i64"/><field name="uint128" type="uint128"/></union>`

var gdbTypes = sync.OnceValue(func() map[string]string {
	return map[string]string{
		"org.gnu.gdb.i386.core": flagsType("i386_eflags", "CF 0", "@ 1", "PF 2", "AF 4", "ZF 6", "SF 7", "TF 8", "IF 9",
			"DF 10", "OF 11", "NT 14", "RF 16", "VM 17", "AC 18", "VIF 19", "VIP 20", "ID 21"),
		"org.gnu.gdb.i386.sse": fmt.Sprintf(vectorTypes, "vec128") + flagsType("i386_mxcsr", "IE 0", "DE 1", "ZE 2", "OE 3",
			"UE 4", "PE 5", "DAZ 6", "IM 7", "DM 8", "ZM 9", "OM 10", "UM 11", "PM 12", "FZ 15"),
		"org.gnu.gdb.i386.avx512": fmt.Sprintf(vectorTypes, "vec128") + `<vector id="v2ui128" type="uint128" count="2"/>`,
		"org.gnu.gdb.aarch64.fpu": fmt.Sprintf(vectorTypes, "aarch64v"),
	}
})

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
	for _, r := range f.list {
		b.WriteString("<reg")
		for _, a := range f.lldbAttributes(r) {
			fmt.Fprintf(&b, ` %s="%s"`, a.description, a.value)
		}
		b.WriteString("/>")
	}
	b.WriteString("</feature></target>")
	return b.String()
}

// An lldbAttribute is what lldb wants to know of a register, with its name in a description and in a reply to
// qRegisterInfo.
type lldbAttribute struct{ description, info, value string }

func (f *registerFile) lldbAttributes(r *register) []lldbAttribute {
	encoding, format := "uint", "hex"
	if r.size > 8 {
		encoding, format = "vector", "vector-uint8"
	}
	list := []lldbAttribute{
		{"name", "name", r.name},
		{"bitsize", "bitsize", strconv.Itoa(8 * r.size)},
		{"regnum", "", strconv.Itoa(r.number)},
		{"offset", "offset", strconv.Itoa(f.position(r))},
		{"encoding", "encoding", encoding},
		{"format", "format", format},
		{"group", "set", r.group},
	}
	if r.dwarf >= 0 {
		n := strconv.Itoa(r.dwarf)
		list = append(list, lldbAttribute{"ehframe_regnum", "ehframe", n}, lldbAttribute{"dwarf_regnum", "dwarf", n})
	}
	if r.generic != "" {
		list = append(list, lldbAttribute{"generic", "generic", r.generic})
	}
	if r.whole != nil {
		list = append(list, lldbAttribute{"value_regnums", "container-regs", f.numbers([]*register{r.whole})})
	}
	if changed := append(slices.Clone(r.overlap), f.partsOf(r)...); len(changed) > 0 {
		list = append(list, lldbAttribute{"invalidate_regnums", "invalidate-regs", f.numbers(changed)})
	}
	return list
}

// partsOf are the registers that change with a part, or with its whole.
func (f *registerFile) partsOf(r *register) []*register {
	whole := r
	if r.whole != nil {
		whole = r.whole
	}
	var list []*register
	for _, other := range f.list {
		if other != r && (other == whole || other.whole == whole) {
			list = append(list, other)
		}
	}
	return list
}

func (f *registerFile) numbers(list []*register) string {
	var s []string
	for _, r := range list {
		s = append(s, strconv.Itoa(r.number))
	}
	return strings.Join(s, ",")
}
