// Package kubernetes writes a plan as manifests: a claim for the folder that all share, and a Job for each block that is to run.
// Nothing of it talks to a cluster.
package kubernetes

import (
	"bytes"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"stepflow/runtime/plan"
)

// Options are what a plan does not know of a cluster.
type Options struct {
	Name         string // of the pipeline; the names of all objects begin with it
	Image        string
	Namespace    string // "" for the one that kubectl has
	Claim        string // that exists already; "" to write one
	StorageClass string // of the claim; "" for the cluster's default
	Storage      int64  // bytes of the claim
	Folder       string // of the pipeline, in the claim's root
	Secrets      []string
	PullSecrets  []string
	NodeSelector map[string]string
	Tolerations  []Toleration
	CPUs         string // that a container asks for
	GPU          string // resource of a card; "" for the CPU device
	GPUMemory    string // label of nodes with a card's memory in MiB; "" for none
	Ranks        int    // that train a stage
	OnePod       bool   // with all of them
	Retries      int
	Arguments    []string // of stepflow, about device and variables
	Variables    []Variable
}

// Variable is a variable of the pipeline that the environment sets.
type Variable struct{ Name, Value string }

// File is a manifest.
type File struct {
	Name string
	Text []byte
	Of   *plan.Action // nil for storage
}

// mount is where the shared folder is in a container.
const mount = "/pipelines"

// Render returns the manifests of a plan, in the order in which its blocks run. It refuses to write a sensitive value.
func Render(p *plan.Plan, o Options) ([]File, error) {
	var list []File
	if o.Claim == "" {
		o.Claim = label(o.Name)
		text, err := manifest([]string{
			"The folder that all Jobs share: the pipeline with its data and its state.",
		}, storage(o))
		if err != nil {
			return nil, err
		}
		list = append(list, File{Name: "00-storage.yaml", Text: text})
	}
	r := newRenderer(p, o)
	for _, a := range r.run {
		f, err := r.file(a)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.Addr, err)
		}
		list = append(list, f)
	}
	for _, f := range list {
		if !bytes.Equal([]byte(p.Config.Secrets.Redact(string(f.Text))), f.Text) {
			return nil, fmt.Errorf("%s would hold a sensitive value of the pipeline. Give it in a Secret, as %s says: kubectl create "+
				"secret generic NAME --from-literal=STEPFLOW_VAR_…, and -secret NAME", f.Name, "docs/kubernetes.md")
		}
	}
	return list, nil
}

// Mark begins each file, so that the next rendering knows which it may replace.
const Mark = "# Rendered by stepflow."

// manifest writes objects below comments.
func manifest(comments []string, objects ...any) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintln(&b, Mark)
	for _, c := range comments {
		fmt.Fprintln(&b, "#", strings.Join(strings.Fields(c), " "))
	}
	for i, x := range objects {
		if i > 0 {
			fmt.Fprintln(&b, "---")
		}
		e := yaml.NewEncoder(&b)
		e.SetIndent(2)
		if err := e.Encode(x); err != nil {
			return nil, err
		}
		e.Close()
	}
	return b.Bytes(), nil
}

// storage is the claim of the folder that all pods share.
func storage(o Options) object[claimSpec] {
	return object[claimSpec]{"v1", "PersistentVolumeClaim",
		meta{Name: o.Claim, Namespace: o.Namespace, Labels: map[string]string{partOf: label(o.Name), managedBy: "stepflow"}},
		claimSpec{AccessModes: []string{"ReadWriteMany"}, StorageClassName: o.StorageClass,
			Resources: resources{Requests: map[string]string{"storage": quantity(o.Storage, 1<<30)}}}}
}

// quantity writes bytes as a quantity of Kubernetes, rounded up to a multiple of a unit.
func quantity(n, unit int64) string {
	n = (n + unit - 1) / unit * unit
	if n%(1<<30) == 0 {
		return fmt.Sprintf("%dGi", n>>30)
	}
	return fmt.Sprintf("%dMi", n>>20)
}
