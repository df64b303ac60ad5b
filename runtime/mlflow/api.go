package mlflow

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"

	"stepflow/runtime/metrics"
)

// Limits of a request of runs/log-batch.
const (
	mostMetrics = 1000
	mostParams  = 100
)

// pair is a parameter or a tag.
type pair struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// metric is a value of a metric.
type metric struct {
	Key   string  `json:"key"`
	Value number  `json:"value"`
	At    integer `json:"timestamp"` // milliseconds since 1970
	Step  integer `json:"step"`
}

// number is written as the JSON of protocol buffers writes one that is not finite.
type number float64

func (x number) MarshalJSON() ([]byte, error) {
	if w := metrics.Word(float64(x)); w != "" {
		return json.Marshal(w)
	}
	return json.Marshal(float64(x))
}

func (x *number) UnmarshalJSON(b []byte) error {
	var f float64
	var word string
	if json.Unmarshal(b, &word) == nil {
		f = math.NaN() // of a metric that the server has, the step and the time are looked at alone
	} else if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*x = number(f)
	return nil
}

// integer may come in quotes, which the JSON of protocol buffers puts around 64 bits.
type integer int64

func (x *integer) UnmarshalJSON(b []byte) error {
	return json.Unmarshal([]byte(strings.Trim(string(b), `"`)), (*int64)(x))
}

// remote is a run as the server has it.
type remote struct {
	Info struct {
		ID         string  `json:"run_id"`
		Experiment string  `json:"experiment_id"`
		Name       string  `json:"run_name"`
		Status     string  `json:"status"`
		Ended      integer `json:"end_time"`
		Lifecycle  string  `json:"lifecycle_stage"`
	} `json:"info"`
	Data struct {
		Metrics []metric `json:"metrics"` // the last of each
		Params  []pair   `json:"params"`
		Tags    []pair   `json:"tags"`
	} `json:"data"`
}

func (r *remote) tag(key string) string {
	for _, t := range r.Data.Tags {
		if t.Key == key {
			return t.Value
		}
	}
	return ""
}

func (r *remote) deleted() bool { return r.Info.Lifecycle == "deleted" }

// experimentOf returns the id of an experiment, and makes one that is not there.
func (s *Server) experimentOf(ctx context.Context, pipeline string) (string, error) {
	if s.experimentID != "" {
		return s.experimentID, nil
	}
	name := cmp.Or(s.experiment, pipeline)
	var found struct {
		Experiment struct {
			ID        string `json:"experiment_id"`
			Lifecycle string `json:"lifecycle_stage"`
		} `json:"experiment"`
	}
	get := func() error {
		return s.ask(ctx, http.MethodGet, "experiments/get-by-name", url.Values{"experiment_name": {name}}, nil, &found)
	}
	err := get()
	if hasCode(err, codeAbsent) {
		var made struct {
			ID string `json:"experiment_id"`
		}
		err = s.ask(ctx, http.MethodPost, "experiments/create", nil, map[string]any{"name": name}, &made)
		if err == nil {
			return made.ID, nil
		}
		if hasCode(err, codeExists) { // another process was faster
			err = get()
		}
	}
	if err == nil && found.Experiment.Lifecycle == "deleted" {
		err = &refusal{text: fmt.Sprintf("its experiment %q is deleted: restore it, or set %s to another", name,
			experimentVariable)}
	}
	return found.Experiment.ID, err
}

// mostRuns is how many runs a state may have on a server: of a list that never ends, no more are read.
const mostRuns = 200_000

// search lists the runs of a state, the latest first, deleted ones too.
func (s *Server) search(ctx context.Context, experiment, lineage string) (list []*remote, err error) {
	page := ""
	for {
		var found struct {
			Runs []*remote `json:"runs"`
			Next string    `json:"next_page_token"`
		}
		body := map[string]any{"experiment_ids": []string{experiment}, "max_results": 1000, "run_view_type": "ALL",
			"filter":   fmt.Sprintf("tags.`%s` = '%s'", tagLineage, strings.ReplaceAll(lineage, "'", "")),
			"order_by": []string{"attributes.start_time DESC"}}
		if page != "" {
			body["page_token"] = page
		}
		if err := s.ask(ctx, http.MethodPost, "runs/search", nil, body, &found); err != nil {
			return nil, err
		}
		for _, r := range found.Runs {
			if r != nil {
				list = append(list, r)
			}
		}
		if len(found.Runs) == 0 || found.Next == "" || found.Next == page {
			return list, nil
		}
		if len(list) > mostRuns {
			return nil, &refusal{text: fmt.Sprintf("it lists more than %d runs of this pipeline", mostRuns)}
		}
		page = found.Next
	}
}

func (s *Server) get(ctx context.Context, id string) (*remote, error) {
	var found struct {
		Run *remote `json:"run"`
	}
	err := s.ask(ctx, http.MethodGet, "runs/get", url.Values{"run_id": {id}}, nil, &found)
	if err == nil && found.Run == nil {
		err = errors.New("it answers without a run")
	}
	return found.Run, err
}

// create makes a run; it begins at a time in milliseconds.
func (s *Server) create(ctx context.Context, experiment, name string, at int64, tags []pair) (*remote, error) {
	var made struct {
		Run *remote `json:"run"`
	}
	body := map[string]any{"experiment_id": experiment, "run_name": name, "start_time": at, "tags": tags}
	err := s.ask(ctx, http.MethodPost, "runs/create", nil, body, &made)
	if err == nil && (made.Run == nil || made.Run.Info.ID == "") {
		err = errors.New("it answers without a run")
	}
	return made.Run, err
}

// update changes a run.
func (s *Server) update(ctx context.Context, id string, change map[string]any) error {
	change["run_id"] = id
	return s.ask(ctx, http.MethodPost, "runs/update", nil, change, &struct{}{})
}

// log adds to a run. Metrics are of no more requests than needed; one that was sent twice is one to the server.
func (s *Server) log(ctx context.Context, id string, list []metric, params, tags []pair) error {
	for len(list)+len(params)+len(tags) > 0 {
		m, p, t := min(len(list), mostMetrics-2*mostParams), min(len(params), mostParams), min(len(tags), mostParams)
		if len(params)+len(tags) == 0 {
			m = min(len(list), mostMetrics)
		}
		body := struct { // MLflow takes no null for a list
			ID      string   `json:"run_id"`
			Metrics []metric `json:"metrics,omitempty"`
			Params  []pair   `json:"params,omitempty"`
			Tags    []pair   `json:"tags,omitempty"`
		}{id, list[:m], params[:p], tags[:t]}
		if err := s.ask(ctx, http.MethodPost, "runs/log-batch", nil, body, &struct{}{}); err != nil {
			return err
		}
		list, params, tags = list[m:], params[p:], tags[t:]
	}
	return nil
}
