package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// observability is where the dashboard and the rules lie.
const observability = "../../docs/observability"

// port returns a free port.
func port(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, p, _ := net.SplitHostPort(l.Addr().String())
	return p
}

// expressions are those of the dashboard, for all stages, and of the rules that record.
func expressions(t *testing.T) (list []string) {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Record, Expr string }
		}
	}
	for file, read := range map[string]func([]byte) error{
		"dashboard.json": func(b []byte) error { return json.Unmarshal(b, &dashboard) },
		"rules.yaml":     func(b []byte) error { return yaml.Unmarshal(b, &rules) },
	} {
		b, err := os.ReadFile(filepath.Join(observability, file))
		if err == nil {
			err = read(b)
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	for _, p := range dashboard.Panels {
		for _, x := range p.Targets {
			list = append(list, strings.NewReplacer(`$stage`, ".*", "$__rate_interval", "20s").Replace(x.Expr))
		}
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Record != "" {
				list = append(list, r.Record)
			}
		}
	}
	return list
}

// TestPrometheus lets a real Prometheus, with the rules of docs/observability, watch the quickstart, and asks it what the
// dashboard asks. Every question has an answer, and the times of steps name traces.
func TestPrometheus(t *testing.T) {
	binary := os.Getenv("STEPFLOW_PROMETHEUS")
	if binary == "" {
		t.Skip("STEPFLOW_PROMETHEUS does not name a Prometheus: make test-prometheus sets it")
	}
	dir, metrics, api := t.TempDir(), port(t), port(t)
	rules, err := filepath.Abs(filepath.Join(observability, "rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// Rules are looked at every second, so that those over five minutes have a value within the test.
	config := fmt.Sprintf("global: { scrape_interval: 1s, evaluation_interval: 1s }\nrule_files: [%q]\nscrape_configs:\n"+
		"  - job_name: stepflow\n    static_configs: [{ targets: [\"127.0.0.1:%s\"] }]\n", rules, metrics)
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	server := exec.Command(binary, "--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "data"),
		"--web.listen-address", "127.0.0.1:"+api, "--enable-feature=exemplar-storage", "--log.level=warn")
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Signal(syscall.SIGTERM)
		server.Wait()
	})

	run := exec.Command("../../bin/stepflow", "apply", "-auto-approve", "-var", "tokens=1e6", "-state-dir", filepath.Join(dir, "state"),
		quickstart(t))
	run.Env = append(os.Environ(), "OTEL_METRICS_EXPORTER=prometheus", "OTEL_EXPORTER_PROMETHEUS_HOST=127.0.0.1",
		"OTEL_EXPORTER_PROMETHEUS_PORT="+metrics, "OTEL_TRACES_EXPORTER=file", "STEPFLOW_TRACE_FILE="+filepath.Join(dir, "trace.jsonl"))
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		run.Process.Signal(syscall.SIGINT)
		run.Wait()
	})
	ask := func(path string, query url.Values) string {
		r, err := http.Get("http://127.0.0.1:" + api + "/api/v1/" + path + "?" + query.Encode())
		if err != nil {
			return err.Error()
		}
		defer r.Body.Close()
		var body struct {
			Status, Error string
			Data          json.RawMessage
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Status != "success" {
			return fmt.Sprint("error: ", err, body.Error)
		}
		return string(body.Data)
	}
	open := expressions(t)
	traced := regexp.MustCompile(`"trace_id":"[0-9a-f]{32}"`)
	var exemplars string
	for start := time.Now(); len(open) > 0 || !traced.MatchString(exemplars); time.Sleep(time.Second) {
		if time.Since(start) > 3*time.Minute {
			t.Fatalf("Prometheus has no answer to %q; exemplars %s", open, exemplars)
		}
		var left []string
		for _, x := range open {
			answer := ask("query", url.Values{"query": {x}})
			if strings.HasPrefix(answer, "error") {
				t.Fatalf("%s: %s", x, answer)
			}
			if !strings.Contains(answer, `"value":`) {
				left = append(left, x)
			}
		}
		open = left
		exemplars = ask("query_exemplars", url.Values{"query": {"stepflow_step_duration_seconds_bucket"},
			"start": {fmt.Sprint(time.Now().Add(-time.Hour).Unix())}, "end": {fmt.Sprint(time.Now().Unix())}})
	}
	got := ask("rules", url.Values{"type": {"alert"}})
	if strings.Count(got, `"health":"ok"`) != 5 || strings.Contains(got, `"health":"err"`) {
		t.Errorf("the alerts are %s", got)
	}
}
