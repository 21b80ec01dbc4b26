package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/envoyshim/envoyshim/internal/observe/admin"
)

// logging changes levels and tells what they are then. Envoy takes one parameter at a time. "level" also is what patterns of the fine-grain logger do not
// match, and makes Envoy forget these, so it goes first (source/common/common/fine_grain_logger.cc, updateVerbosityDefaultLevel).
func (p *port) logging(ctx context.Context, change admin.Change) (*admin.Levels, error) {
	var paths []string
	for _, logger := range change.Loggers {
		paths = append(paths, logger.Name+":"+logger.Level)
	}
	parameters := []url.Values{{}}
	if change.Level != "" {
		parameters = append(parameters, url.Values{"level": {change.Level}})
	}
	if len(paths) > 0 {
		parameters = append(parameters, url.Values{"paths": {strings.Join(paths, ",")}})
	}
	levels := new(admin.Levels)
	for _, parameter := range parameters {
		err := p.ask(ctx, http.MethodPost, "/logging?"+parameter.Encode(), func(status int, body io.Reader) error {
			text, err := io.ReadAll(io.LimitReader(body, 16<<20))
			if err != nil {
				return err
			}
			first, _, _ := strings.Cut(string(text), "\n")
			if status != http.StatusOK {
				return errors.New(strings.TrimPrefix(first, "error: "))
			}
			*levels = parseLevels(string(text))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return levels, nil
}

// parseLevels reads lines "  NAME: LEVEL". The fine-grain logger's names are those of files. Of these Envoy 1.40 leaves out all that belong to a component,
// which may be all (source/common/common/fine_grain_logger.cc, listFineGrainLoggers).
func parseLevels(text string) admin.Levels {
	levels := admin.Levels{Loggers: []admin.Logger{}}
	for line := range strings.Lines(text) {
		name, level, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if ok && strings.HasPrefix(line, "  ") {
			levels.Loggers = append(levels.Loggers, admin.Logger{Name: name, Level: level})
		}
	}
	slices.SortFunc(levels.Loggers, func(a, b admin.Logger) int { return strings.Compare(a.Name, b.Name) })
	levels.FineGrain = len(levels.Loggers) == 0 || strings.Contains(levels.Loggers[0].Name, "/")
	return levels
}
