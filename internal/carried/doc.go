// Package carried runs programs that lie compressed inside this one: what is needed seldom and would cost each start too much if it
// were linked (RATIONALE.md).
package carried
