package kubernetes

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// schema is what is used of a schema of OpenAPI 2.
type schema struct {
	Ref                  string             `json:"$ref"`
	Type                 string             `json:"type"`
	Properties           map[string]*schema `json:"properties"`
	AdditionalProperties *schema            `json:"additionalProperties"`
	Required             []string           `json:"required"`
	Items                *schema            `json:"items"`
}

// definitions are the API's types.
type definitions map[string]*schema

func readDefinitions(t *testing.T) definitions {
	t.Helper()
	b, err := os.ReadFile("testdata/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var d definitions
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// check returns in what a value differs from a schema. Unlike JSON Schema, and like an API server that is asked to be strict,
// it refuses fields that are not listed.
func (d definitions) check(s *schema, v any, at string) (wrong []string) {
	for s.Ref != "" {
		name := strings.TrimPrefix(s.Ref, "#/definitions/")
		if s = d[name]; s == nil {
			return []string{at + ": no definition of " + name}
		}
	}
	bad := func(format string, args ...any) { wrong = append(wrong, at+": "+fmt.Sprintf(format, args...)) }
	switch x := v.(type) {
	case map[string]any:
		if s.Type != "object" && s.Type != "" {
			bad("an object, not %s", s.Type)
		}
		for _, name := range s.Required {
			if _, ok := x[name]; !ok {
				bad("%s is missing", name)
			}
		}
		for name, y := range x {
			switch field := s.Properties[name]; {
			case field != nil:
				wrong = append(wrong, d.check(field, y, at+"."+name)...)
			case s.AdditionalProperties != nil:
				wrong = append(wrong, d.check(s.AdditionalProperties, y, at+"."+name)...)
			default:
				bad("there is no field %s", name)
			}
		}
	case []any:
		if s.Type != "array" {
			bad("a list, not %s", s.Type)
			break
		}
		for i, y := range x {
			wrong = append(wrong, d.check(s.Items, y, fmt.Sprintf("%s[%d]", at, i))...)
		}
	default:
		name := map[string]string{"string": "string", "int": "integer", "bool": "boolean", "float64": "number"}[fmt.Sprintf("%T", v)]
		if name != s.Type {
			bad("%v is %T, not %s", v, v, s.Type)
		}
	}
	return wrong
}

func TestCheckFindsMistakes(t *testing.T) {
	d := readDefinitions(t)
	job := func(spec map[string]any) any { return map[string]any{"kind": "Job", "spec": spec} }
	pod := map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "c"}}}}
	for want, v := range map[string]any{
		"":                                     job(map[string]any{"template": pod}),
		"template is missing":                  job(map[string]any{}),
		"there is no field Completions":        job(map[string]any{"template": pod, "Completions": 1}),
		`completions: 1 is string`:             job(map[string]any{"template": pod, "completions": "1"}),
		"containers is missing":                job(map[string]any{"template": map[string]any{"spec": map[string]any{}}}),
		"podFailurePolicy: a list, not object": job(map[string]any{"template": pod, "podFailurePolicy": []any{}}),
	} {
		got := strings.Join(d.check(d["io.k8s.api.batch.v1.Job"], v, "job"), "\n")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%v:\n%s\nwant %q", v, got, want)
		}
	}
}
