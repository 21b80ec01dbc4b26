//go:build linux

package debugserver

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// An agentExpression is the bytecode of a condition (GDB manual, appendix "The GDB Agent Expression Mechanism"). Evaluated
// here, a false condition costs no round trip to the client.
type agentExpression []byte

// agentContext is what expressions see of the thread that stands at the breakpoint.
type agentContext struct {
	register func(number int) (uint64, error)
	memory   func(addr uint64, b []byte) error
}

// The opcodes (GDB manual, "Bytecode Descriptions"). Those of floating point are defined nowhere; those of tracepoints and of
// trace state variables are refused like them.
const (
	opAdd         = 0x02
	opSub         = 0x03
	opMul         = 0x04
	opDivSigned   = 0x05
	opDivUnsigned = 0x06
	opRemSigned   = 0x07
	opRemUnsigned = 0x08
	opLsh         = 0x09
	opRshSigned   = 0x0a
	opRshUnsigned = 0x0b
	opLogNot      = 0x0e
	opBitAnd      = 0x0f
	opBitOr       = 0x10
	opBitXor      = 0x11
	opBitNot      = 0x12
	opEqual       = 0x13
	opLessSigned  = 0x14
	opLess        = 0x15
	opExt         = 0x16
	opRef8        = 0x17
	opRef16       = 0x18
	opRef32       = 0x19
	opRef64       = 0x1a
	opIfGoto      = 0x20
	opGoto        = 0x21
	opConst8      = 0x22
	opConst16     = 0x23
	opConst32     = 0x24
	opConst64     = 0x25
	opReg         = 0x26
	opEnd         = 0x27
	opDup         = 0x28
	opPop         = 0x29
	opZeroExt     = 0x2a
	opSwap        = 0x2b
	opPick        = 0x32
	opRot         = 0x33
)

const (
	maxAgentSteps = 10000 // of an expression: a loop without end would hold the process for ever
	maxAgentStack = 1000
)

var (
	errAgentStack  = errors.New("the stack of an agent expression runs over or dry")
	errAgentEnd    = errors.New("an agent expression has no end")
	errAgentSteps  = errors.New("an agent expression runs too long")
	errAgentDivide = errors.New("division by zero in an agent expression")
)

// holds evaluates the expression. What cannot be evaluated counts as true, so that the client looks at it.
func (x agentExpression) holds(ctx agentContext) bool {
	value, err := x.evaluate(ctx)
	return err != nil || value != 0
}

func (x agentExpression) evaluate(ctx agentContext) (uint64, error) {
	m := agentMachine{code: x, agentContext: ctx}
	for range maxAgentSteps {
		op, err := m.operand(1)
		if err != nil {
			return 0, err
		}
		if op == opEnd {
			value := m.pop()
			return value, m.err
		}
		if m.execute(byte(op)); m.err != nil {
			return 0, m.err
		}
	}
	return 0, errAgentSteps
}

// An agentMachine has one error, the first; after it nothing counts.
type agentMachine struct {
	agentContext
	code  agentExpression
	at    int
	stack []uint64
	err   error
}

func (m *agentMachine) fail(err error) {
	if m.err == nil {
		m.err = err
	}
}

func (m *agentMachine) push(v uint64) {
	if len(m.stack) == maxAgentStack {
		m.fail(errAgentStack)
		return
	}
	m.stack = append(m.stack, v)
}

func (m *agentMachine) pop() uint64 {
	if len(m.stack) == 0 {
		m.fail(errAgentStack)
		return 0
	}
	v := m.stack[len(m.stack)-1]
	m.stack = m.stack[:len(m.stack)-1]
	return v
}

// operand is a number of that many bytes in the code, most significant first.
func (m *agentMachine) operand(size int) (uint64, error) {
	if m.at+size > len(m.code) {
		m.fail(errAgentEnd)
		return 0, errAgentEnd
	}
	v := uint64(0)
	for _, b := range m.code[m.at : m.at+size] {
		v = v<<8 | uint64(b)
	}
	m.at += size
	return v, nil
}

func (m *agentMachine) execute(op byte) {
	switch op {
	case opConst8, opConst16, opConst32, opConst64:
		v, _ := m.operand(1 << (op - opConst8))
		m.push(v)
	case opReg:
		n, _ := m.operand(2)
		if m.err == nil {
			v, err := m.register(int(n))
			if err != nil {
				m.fail(err)
			}
			m.push(v)
		}
	case opRef8, opRef16, opRef32, opRef64:
		m.push(m.load(m.pop(), 1<<(op-opRef8)))
	case opExt, opZeroExt:
		n, _ := m.operand(1)
		m.push(extend(m.pop(), n, op == opExt))
	case opGoto:
		to, _ := m.operand(2)
		m.at = int(to)
	case opIfGoto:
		if to, _ := m.operand(2); m.pop() != 0 {
			m.at = int(to)
		}
	case opLogNot:
		m.push(truth(m.pop() == 0))
	case opBitNot:
		m.push(^m.pop())
	case opPop:
		m.pop()
	case opDup:
		v := m.pop()
		m.push(v)
		m.push(v)
	case opSwap:
		b, a := m.pop(), m.pop()
		m.push(b)
		m.push(a)
	case opRot: // a b c => c a b
		c, b, a := m.pop(), m.pop(), m.pop()
		m.push(c)
		m.push(a)
		m.push(b)
	case opPick: // 0 is the top
		n, _ := m.operand(1)
		if i := len(m.stack) - 1 - int(n); i >= 0 {
			m.push(m.stack[i])
		} else {
			m.fail(errAgentStack)
		}
	default:
		b, a := m.pop(), m.pop()
		m.push(m.binary(op, a, b))
	}
}

func (m *agentMachine) binary(op byte, a, b uint64) uint64 {
	if op >= opDivSigned && op <= opRemUnsigned && b == 0 {
		m.fail(errAgentDivide)
		return 0
	}
	switch op {
	case opAdd:
		return a + b
	case opSub:
		return a - b
	case opMul:
		return a * b
	case opDivSigned:
		return uint64(int64(a) / int64(b))
	case opDivUnsigned:
		return a / b
	case opRemSigned:
		return uint64(int64(a) % int64(b))
	case opRemUnsigned:
		return a % b
	case opLsh:
		return a << b
	case opRshSigned:
		return uint64(int64(a) >> b)
	case opRshUnsigned:
		return a >> b
	case opBitAnd:
		return a & b
	case opBitOr:
		return a | b
	case opBitXor:
		return a ^ b
	case opEqual:
		return truth(a == b)
	case opLessSigned:
		return truth(int64(a) < int64(b))
	case opLess:
		return truth(a < b)
	}
	m.fail(fmt.Errorf("unknown opcode %#x in an agent expression", op))
	return 0
}

func (m *agentMachine) load(addr uint64, size int) uint64 {
	if m.err != nil {
		return 0
	}
	var b [8]byte
	if err := m.memory(addr, b[:size]); err != nil {
		m.fail(err)
	}
	return binary.LittleEndian.Uint64(b[:])
}

// extend takes the lowest n bits.
func extend(v, n uint64, signed bool) uint64 {
	if n == 0 || n >= 64 {
		return v
	}
	v <<= 64 - n
	if signed {
		return uint64(int64(v) >> (64 - n))
	}
	return v >> (64 - n)
}

func truth(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// parseConditions reads the list that may follow a breakpoint: "X" and the length, a comma, the code in hexadecimal, and
// so on (GDB manual, "Packets", Z0).
func parseConditions(s string) ([]agentExpression, error) {
	var all []agentExpression
	for s = strings.TrimLeft(s, ";"); s != ""; s = strings.TrimLeft(s, ";") {
		length, rest, ok := strings.Cut(strings.TrimPrefix(s, "X"), ",")
		n, err := strconv.ParseUint(length, 16, 16)
		if s[0] != 'X' || !ok || err != nil || uint64(len(rest)) < 2*n {
			return nil, errMalformed // commands for the server were not offered
		}
		code, err := hex.DecodeString(rest[:2*n])
		if err != nil {
			return nil, errMalformed
		}
		all = append(all, code)
		s = rest[2*n:]
	}
	return all, nil
}
