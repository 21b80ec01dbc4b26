package command

import (
	"fmt"

	"github.com/envoyshim/envoyshim/internal/diagnosis"
)

// Findings prints what doctor has found, as a table or as JSON. The exit status is 1 when something blocks.
func (s *Streams) Findings(asJSON bool, all []diagnosis.Finding) error {
	if diagnosis.Blocks(all) {
		s.Status = 1
	}
	if asJSON {
		return s.JSON(all)
	}
	table := s.Table()
	for _, f := range all {
		text := f.Found
		if f.Cure != "" {
			text += "; cure: " + f.Cure
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.Verdict, f.Layer, text)
	}
	return table.Flush()
}
