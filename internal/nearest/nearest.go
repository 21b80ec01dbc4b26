// Package nearest finds what somebody may have meant who has mistyped a word.
package nearest

import "github.com/agnivade/levenshtein"

// Index is that of the candidate nearest to a word, or -1 when none is near at all.
func Index(word string, candidates []string) int {
	best, distance := -1, len(word)/3+2
	for i, c := range candidates {
		if d := levenshtein.ComputeDistance(word, c); d < distance {
			best, distance = i, d
		}
	}
	return best
}
