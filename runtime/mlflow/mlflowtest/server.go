// Package mlflowtest is a tracking server of MLflow for tests. It holds to the rules that MLflow 3 checks, in memory.
package mlflowtest

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Server is a server. Its fields may be set before it is asked, and then by what Locked does.
type Server struct {
	Token  string                 // that requests must bear; "" for none
	Before func(call string) int  // the status to answer a call such as runs/create with; 0 to serve it
	After  func(call string) bool // reports whether the answer to a call gets lost
	Full   string                 // the id of a run that takes nothing more; "" for none
	Page   int                    // runs on a page of a search; 0 for what is asked for
	Called map[string]int         // calls that were served
	Bodies []string               // of all requests

	http *httptest.Server
	mu   sync.Mutex
	list []*Run
	exps []string
}

// Run is a run.
type Run struct {
	ID, Experiment, Name, Status string
	Started, Ended               int64
	Deleted                      bool
	Params, Tags                 map[string]string
	Metrics                      map[string][]Metric // in the order in which they came; the same one twice is one

	have map[string]bool // of Metrics
}

// Metric is a value.
type Metric struct {
	Value    float64
	At, Step int64
}

// New starts a server.
func New() *Server {
	s := &Server{Called: map[string]int{}, exps: []string{"Default"}}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

// URL is its address.
func (s *Server) URL() string { return s.http.URL }

// Close ends it, whatever is under way.
func (s *Server) Close() {
	s.http.CloseClientConnections()
	s.http.Close()
}

// Runs are the runs as they are now.
func (s *Server) Runs() []*Run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// Locked does something while nothing is served.
func (s *Server) Locked(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// Find returns the runs of a name, the first made first.
func (s *Server) Find(name string) (list []*Run) {
	for _, r := range s.Runs() {
		if r.Name == name {
			list = append(list, r)
		}
	}
	return list
}

// Experiments are the names of the experiments; their places are their ids.
func (s *Server) Experiments() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.exps)
}

const root = "/api/2.0/mlflow/"

// problem is an error as MLflow answers it.
type problem struct {
	status     int
	code, text string
}

func invalid(format string, args ...any) *problem {
	return &problem{http.StatusBadRequest, "INVALID_PARAMETER_VALUE", fmt.Sprintf(format, args...)}
}

func absent(format string, args ...any) *problem {
	return &problem{http.StatusNotFound, "RESOURCE_DOES_NOT_EXIST", fmt.Sprintf(format, args...)}
}

// body is what a request may hold.
type body struct {
	ExperimentID  string   `json:"experiment_id"`
	ExperimentIDs []string `json:"experiment_ids"`
	Name          string   `json:"name"`
	RunName       string   `json:"run_name"`
	RunID         string   `json:"run_id"`
	Start         *int64   `json:"start_time"`
	End           *int64   `json:"end_time"`
	Status        string   `json:"status"`
	Filter        string   `json:"filter"`
	View          string   `json:"run_view_type"`
	Order         []string `json:"order_by"`
	Most          int      `json:"max_results"`
	Page          string   `json:"page_token"`

	Metrics *[]struct {
		Key   string          `json:"key"`
		Value json.RawMessage `json:"value"`
		At    *int64          `json:"timestamp"`
		Step  *int64          `json:"step"`
	} `json:"metrics"`
	Params *[]pair `json:"params"`
	Tags   *[]pair `json:"tags"`
}

type pair struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func (s *Server) serve(w http.ResponseWriter, q *http.Request) {
	call := strings.TrimPrefix(q.URL.Path, root)
	s.mu.Lock()
	before := s.Before // which may take its time
	s.mu.Unlock()
	if before != nil {
		if status := before(call); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Token != "" && q.Header.Get("Authorization") != "Bearer "+s.Token {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, "You are not authenticated.")
		return
	}
	var text strings.Builder
	var b body
	if q.Method == http.MethodPost {
		var raw json.RawMessage
		if err := json.NewDecoder(q.Body).Decode(&raw); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		text.Write(raw)
		s.Bodies = append(s.Bodies, text.String())
		d := json.NewDecoder(strings.NewReader(text.String()))
		d.DisallowUnknownFields()
		if err := d.Decode(&b); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	s.Called[call]++
	answer, p := s.answer(q, call, &b, text.String())
	if s.After != nil && s.After(call) {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	if p != nil {
		w.WriteHeader(p.status)
		json.NewEncoder(w).Encode(map[string]string{"error_code": p.code, "message": p.text})
		return
	}
	json.NewEncoder(w).Encode(answer)
}

func (s *Server) answer(q *http.Request, call string, b *body, text string) (any, *problem) {
	if strings.Contains(text, ":null") { // on which MLflow fails
		return nil, &problem{http.StatusInternalServerError, "INTERNAL_ERROR", "TypeError: 'NoneType' object is not iterable"}
	}
	get, post := q.Method == http.MethodGet, q.Method == http.MethodPost
	switch {
	case get && call == "experiments/get-by-name":
		name := q.URL.Query().Get("experiment_name")
		if at := slices.Index(s.exps, name); at >= 0 {
			return map[string]any{"experiment": map[string]string{"experiment_id": fmt.Sprint(at), "name": name,
				"lifecycle_stage": "active"}}, nil
		}
		return nil, absent("Could not find experiment with name '%s'", name)
	case post && call == "experiments/create":
		if slices.Contains(s.exps, b.Name) {
			return nil, &problem{http.StatusBadRequest, "RESOURCE_ALREADY_EXISTS", "Experiment already exists."}
		}
		s.exps = append(s.exps, b.Name)
		return map[string]string{"experiment_id": fmt.Sprint(len(s.exps) - 1)}, nil
	case post && call == "runs/create":
		return s.create(b)
	case get && call == "runs/get":
		r, p := s.run(q.URL.Query().Get("run_id"))
		if p != nil {
			return nil, p
		}
		return map[string]any{"run": r.json()}, nil
	case post && call == "runs/search":
		return s.search(b)
	case post && call == "runs/update":
		return s.update(b)
	case post && call == "runs/log-batch" && s.Full != "" && b.RunID == s.Full:
		return nil, invalid("The run takes no more.")
	case post && call == "runs/log-batch":
		return s.log(b, len(text))
	}
	return nil, &problem{http.StatusNotFound, "ENDPOINT_NOT_FOUND", "no such endpoint: " + q.Method + " " + q.URL.Path}
}

func (s *Server) run(id string) (*Run, *problem) {
	for _, r := range s.list {
		if r.ID == id {
			return r, nil
		}
	}
	return nil, absent("Run with id=%s not found", id)
}

func (s *Server) create(b *body) (any, *problem) {
	if b.Start == nil || b.RunName == "" {
		return nil, invalid("a run needs a start time and a name")
	}
	var at int
	if _, err := fmt.Sscan(b.ExperimentID, &at); err != nil || at >= len(s.exps) {
		return nil, absent("No Experiment with id=%s exists", b.ExperimentID)
	}
	r := &Run{ID: fmt.Sprintf("%032x", len(s.list)+1), Experiment: b.ExperimentID, Name: b.RunName, Status: "RUNNING",
		Started: *b.Start, Params: map[string]string{}, Tags: map[string]string{}, Metrics: map[string][]Metric{}, have: map[string]bool{}}
	if p := r.tag(b.Tags); p != nil {
		return nil, p
	}
	s.list = append(s.list, r)
	return map[string]any{"run": r.json()}, nil
}

var filter = regexp.MustCompile("^tags\\.`([^`']+)` = '([^']*)'$")

func (s *Server) search(b *body) (any, *problem) {
	m := filter.FindStringSubmatch(b.Filter)
	if m == nil || b.View != "ALL" || b.Most < 1 || b.Most > 50000 ||
		!slices.Equal(b.Order, []string{"attributes.start_time DESC"}) {
		return nil, invalid("this server for tests does not know that search: %+v", b)
	}
	var found []*Run
	for _, r := range s.list {
		if r.Tags[m[1]] == m[2] && slices.Contains(b.ExperimentIDs, r.Experiment) {
			found = append(found, r)
		}
	}
	slices.SortStableFunc(found, func(a, b *Run) int { return int(b.Started - a.Started) })
	from, size := 0, b.Most
	fmt.Sscan(b.Page, &from)
	if s.Page > 0 {
		size = min(size, s.Page)
	}
	to := min(from+size, len(found))
	answer := map[string]any{}
	var list []any
	for _, r := range found[from:to] {
		list = append(list, r.json())
	}
	if list != nil { // an empty list is left out
		answer["runs"] = list
	}
	if to < len(found) {
		answer["next_page_token"] = fmt.Sprint(to)
	}
	return answer, nil
}

func (s *Server) update(b *body) (any, *problem) {
	r, p := s.run(b.RunID)
	if p != nil {
		return nil, p
	}
	if p := r.active(); p != nil {
		return nil, p
	}
	if b.Status != "" {
		if !slices.Contains([]string{"RUNNING", "FINISHED", "FAILED", "KILLED"}, b.Status) {
			return nil, invalid("no status: %s", b.Status)
		}
		r.Status = b.Status
	}
	if b.End != nil {
		r.Ended = *b.End
	}
	if b.RunName != "" {
		r.Name, r.Tags["mlflow.runName"] = b.RunName, b.RunName
	}
	return map[string]any{"run_info": map[string]string{"run_id": r.ID, "status": r.Status}}, nil
}

// Limits of MLflow.
const (
	mostMetrics, mostPairs, mostBytes        = 1000, 100, 1e6
	longestKey, longestParam, longestTag int = 250, 6000, 8000
)

func (s *Server) log(b *body, size int) (any, *problem) {
	r, p := s.run(b.RunID)
	if p != nil {
		return nil, p
	}
	if p := r.active(); p != nil {
		return nil, p
	}
	if size > mostBytes {
		return nil, invalid("Batched logging API requests must be at most 1000000 bytes, got one of size %d.", size)
	}
	n := 0
	if b.Metrics != nil {
		n += len(*b.Metrics)
		if n > mostMetrics {
			return nil, invalid("A batch logging request can contain at most 1000 metrics. Got %d metrics.", n)
		}
		for i, m := range *b.Metrics {
			if p := name(m.Key); p != nil {
				return nil, p
			}
			if _, err := float(m.Value); err != nil || m.At == nil || *m.At < 0 || m.Step == nil {
				return nil, invalid("Invalid value for parameter 'metrics[%d]'", i)
			}
		}
	}
	if b.Params != nil {
		n += len(*b.Params)
		if len(*b.Params) > mostPairs {
			return nil, invalid("A batch logging request can contain at most 100 params.")
		}
		for _, x := range *b.Params {
			if p := name(x.Key); p != nil {
				return nil, p
			}
			if was, ok := r.Params[x.Key]; ok && was != x.Value {
				return nil, invalid("Changing param values is not allowed. Param %s was already logged", x.Key)
			}
			if utf8.RuneCountInString(x.Value) > longestParam {
				return nil, invalid("the value of %s exceeds the maximum length of 6000 characters", x.Key)
			}
		}
	}
	if b.Tags != nil {
		if n += len(*b.Tags); n > mostMetrics {
			return nil, invalid("A batch logging request can contain at most 1000 metrics, params, and tags.")
		}
	}
	if p := r.tag(b.Tags); p != nil {
		return nil, p
	}
	if b.Params != nil {
		for _, x := range *b.Params {
			r.Params[x.Key] = x.Value
		}
	}
	if b.Metrics != nil {
		for _, m := range *b.Metrics {
			v, _ := float(m.Value)
			x := Metric{v, *m.At, *m.Step}
			if id := fmt.Sprint(m.Key, x); !r.have[id] {
				r.have[id] = true
				r.Metrics[m.Key] = append(r.Metrics[m.Key], x)
			}
		}
	}
	return struct{}{}, nil
}

// float reads a number as the JSON of protocol buffers has it.
func float(b json.RawMessage) (f float64, err error) {
	switch string(b) {
	case `"NaN"`:
		return math.NaN(), nil
	case `"Infinity"`:
		return math.MaxFloat64, nil // as MLflow keeps it
	case `"-Infinity"`:
		return -math.MaxFloat64, nil
	}
	return f, json.Unmarshal(b, &f)
}

var names = regexp.MustCompile(`^[/\p{L}\p{N}_.\- :]+$`)

// name is what is wrong with the key of a metric or a parameter, which is a path.
func name(key string) *problem {
	if !names.MatchString(key) || utf8.RuneCountInString(key) > longestKey {
		return invalid("Invalid value %q for parameter 'name' supplied: Names may only contain alphanumerics, "+
			"underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/).", key)
	}
	if path.Clean(key) != key || strings.HasPrefix(key, "/") || key == "." || strings.HasPrefix(key, "..") {
		return invalid("Names may be treated as files in certain cases: %q", key)
	}
	return nil
}

func (r *Run) active() *problem {
	if r.Deleted {
		return invalid("The run %s must be in the 'active' state. Current state is deleted.", r.ID)
	}
	return nil
}

func (r *Run) tag(tags *[]pair) *problem {
	if tags == nil {
		return nil
	}
	if len(*tags) > mostPairs {
		return invalid("A batch logging request can contain at most 100 tags.")
	}
	for _, t := range *tags {
		if t.Key == "" || len(t.Key) > longestKey || utf8.RuneCountInString(t.Value) > longestTag {
			return invalid("the tag %.40q is too long", t.Key)
		}
	}
	for _, t := range *tags {
		r.Tags[t.Key] = t.Value
	}
	return nil
}

// json is the run as MLflow gives it: of each metric the last.
func (r *Run) json() any {
	stage := "active"
	if r.Deleted {
		stage = "deleted"
	}
	var list []any
	for k, all := range r.Metrics {
		last := all[0]
		for _, m := range all {
			if m.Step > last.Step || m.Step == last.Step && m.At > last.At {
				last = m
			}
		}
		var v any = last.Value
		if math.IsNaN(last.Value) {
			v = "NaN"
		}
		list = append(list, map[string]any{"key": k, "value": v, "timestamp": last.At, "step": last.Step})
	}
	pairs := func(m map[string]string) (list []pair) {
		for k, v := range m {
			list = append(list, pair{k, v})
		}
		return list
	}
	return map[string]any{
		"info": map[string]any{"run_id": r.ID, "experiment_id": r.Experiment, "run_name": r.Name, "status": r.Status,
			"start_time": r.Started, "end_time": r.Ended, "lifecycle_stage": stage},
		"data": map[string]any{"metrics": list, "params": pairs(r.Params), "tags": pairs(r.Tags)}}
}
