//go:build linux

package debugserver

import (
	"encoding/hex"
	"errors"
	"testing"
)

// An assembler of agent expressions for tests: what gdb would send.
func ax(parts ...any) agentExpression {
	var code agentExpression
	for _, part := range parts {
		switch p := part.(type) {
		case int:
			code = append(code, byte(p))
		case string: // hexadecimal operand
			b, err := hex.DecodeString(p)
			if err != nil {
				panic(err)
			}
			code = append(code, b...)
		}
	}
	return code
}

func TestAgentExpressions(t *testing.T) {
	context := agentContext{
		register: func(n int) (uint64, error) {
			if n != 6 {
				return 0, errors.New("no such register")
			}
			return 0x1000, nil
		},
		memory: func(addr uint64, b []byte) error {
			if addr != 0xfec {
				return errors.New("no such memory")
			}
			copy(b, []byte{0xfe, 0xff, 0xff, 0xff, 0x01, 0x02, 0x03, 0x04})
			return nil
		},
	}
	minus := ax(opConst8, "05", opConst8, "07", opSub)
	for promise, test := range map[string]struct {
		code agentExpression
		want uint64
		err  bool
	}{
		"a constant":               {ax(opConst16, "0102", opEnd), 0x102, false},
		"of four bytes":            {ax(opConst32, "01020304", opEnd), 0x1020304, false},
		"of eight":                 {ax(opConst64, "0102030405060708", opEnd), 0x102030405060708, false},
		"a local variable":         {ax(opReg, "0006", opConst8, "14", opSub, opRef32, opExt, "20", opEnd), ^uint64(1), false},
		"without its sign":         {ax(opReg, "0006", opConst8, "14", opSub, opRef32, opZeroExt, "20", opEnd), 0xfffffffe, false},
		"a byte":                   {ax(opConst16, "0fec", opRef8, opEnd), 0xfe, false},
		"two bytes":                {ax(opConst16, "0fec", opRef16, opEnd), 0xfffe, false},
		"eight bytes":              {ax(opConst16, "0fec", opRef64, opEnd), 0x04030201fffffffe, false},
		"a difference":             {ax(string(hex.EncodeToString(minus)), opEnd), ^uint64(1), false},
		"a product":                {ax(opConst8, "05", opConst8, "07", opMul, opEnd), 35, false},
		"a quotient with sign":     {ax(string(hex.EncodeToString(minus)), opConst8, "02", opDivSigned, opEnd), ^uint64(0), false},
		"one without":              {ax(opConst8, "07", opConst8, "02", opDivUnsigned, opEnd), 3, false},
		"a remainder with sign":    {ax(opConst8, "05", opConst8, "0a", opSub, opConst8, "03", opRemSigned, opEnd), ^uint64(1), false},
		"one without, of unsigned": {ax(opConst8, "07", opConst8, "04", opRemUnsigned, opEnd), 3, false},
		"the least by minus one":   {ax(opConst64, "8000000000000000", opConst64, "ffffffffffffffff", opDivSigned, opEnd), 1 << 63, false},
		"division by zero":         {ax(opConst8, "07", opConst8, "00", opRemUnsigned, opEnd), 0, true},
		"a shift to the left":      {ax(opConst8, "03", opConst8, "04", opLsh, opEnd), 0x30, false},
		"to the right":             {ax(string(hex.EncodeToString(minus)), opConst8, "3c", opRshUnsigned, opEnd), 0xf, false},
		"with its sign":            {ax(string(hex.EncodeToString(minus)), opConst8, "01", opRshSigned, opEnd), ^uint64(0), false},
		"bits":                     {ax(opConst8, "0c", opConst8, "0a", opBitAnd, opConst8, "01", opBitOr, opConst8, "03", opBitXor, opEnd), 0x0a, false},
		"all other bits":           {ax(opConst8, "00", opBitNot, opEnd), ^uint64(0), false},
		"not":                      {ax(opConst8, "05", opLogNot, opEnd), 0, false},
		"equal":                    {ax(opConst8, "05", opConst8, "05", opEqual, opEnd), 1, false},
		"less with sign":           {ax(string(hex.EncodeToString(minus)), opConst8, "05", opLessSigned, opEnd), 1, false},
		"less without":             {ax(string(hex.EncodeToString(minus)), opConst8, "05", opLess, opEnd), 0, false},
		"a jump":                   {ax(opGoto, "0005", opConst8, "05", opConst8, "07", opEnd), 7, false},
		"a jump taken":             {ax(opConst8, "01", opIfGoto, "0008", opConst8, "05", opEnd, opConst8, "07", opEnd), 7, false},
		"a jump not taken":         {ax(opConst8, "00", opIfGoto, "0008", opConst8, "05", opEnd, opConst8, "07", opEnd), 5, false},
		"the stack":                {ax(opConst8, "01", opConst8, "02", opSwap, opSub, opDup, opAdd, opConst8, "09", opPop, opEnd), 2, false},
		"a pick":                   {ax(opConst8, "09", opConst8, "02", opPick, "01", opEnd), 9, false},
		"a rotation":               {ax(opConst8, "01", opConst8, "02", opConst8, "03", opRot, opPop, opEnd), 1, false},
		"a loop without end":       {ax(opGoto, "0000"), 0, true},
		"a growing stack":          {ax(opConst8, "00", opGoto, "0000"), 0, true},
		"no end":                   {ax(opConst8, "01"), 0, true},
		"no operand":               {ax(opConst16, "01"), 0, true},
		"nothing on the stack":     {ax(opAdd, opEnd), 0, true},
		"no result":                {ax(opEnd), 0, true},
		"no register":              {ax(opReg, "0007", opEnd), 0, true},
		"no memory":                {ax(opConst8, "00", opRef8, opEnd), 0, true},
		"a tracepoint's":           {ax(0x0c, opEnd), 0, true},
		"a jump out":               {ax(opGoto, "ffff"), 0, true},
		"an empty one":             {nil, 0, true},
	} {
		t.Run(promise, func(t *testing.T) {
			got, err := test.code.evaluate(context)
			if (err != nil) != test.err || err == nil && got != test.want {
				t.Errorf("%#x, %v; want %#x, error %t", got, err, test.want, test.err)
			}
			if holds := test.code.holds(context); holds != (test.err || test.want != 0) {
				t.Errorf("it holds: %t", holds)
			}
		})
	}
}

func TestConditionsOfABreakpoint(t *testing.T) {
	for list, want := range map[string]int{"": 0, "X3,220127": 1, ";X3,220127X3,220027": 2, "X3,220127;X3,220027;": 2} {
		if got, err := parseConditions(list); err != nil || len(got) != want {
			t.Errorf("%q: %d conditions, %v; want %d", list, len(got), err, want)
		}
	}
	for _, list := range []string{"X", "X3", "X3,2201", "X3,22012z", "Xffffff,00", "cmds:0,X1,27", "220127"} {
		if got, err := parseConditions(list); err != errMalformed {
			t.Errorf("%q: %d conditions, %v", list, len(got), err)
		}
	}
}

// FuzzAgentExpression: no code runs for ever or crashes.
func FuzzAgentExpression(f *testing.F) {
	f.Add([]byte(ax(opReg, "0006", opConst8, "14", opSub, opRef32, opExt, "20", opConst8, "05", opEqual, opEnd)))
	f.Add([]byte(ax(opConst8, "00", opGoto, "0000")))
	f.Fuzz(func(t *testing.T, code []byte) {
		read := func(addr uint64, b []byte) error { return nil }
		value, err := agentExpression(code).evaluate(agentContext{register: func(n int) (uint64, error) { return uint64(n), nil }, memory: read})
		if err != nil && value != 0 {
			t.Errorf("%#x beside the error %v", value, err)
		}
	})
}
