package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"stepflow/dsl"
	"stepflow/foreign"
	"stepflow/runtime/durable"
	"stepflow/runtime/kubernetes"
	"stepflow/runtime/plan"
	"stepflow/runtime/words"
)

func renderCommand() command {
	var executor, out, storage string
	var o kubernetes.Options
	return command{name: "render", args: "[flags] [DIR]", most: 1,
		short: "Writes a plan as manifests for Kubernetes.",
		synopsis: "Plans, and writes a manifest for each block that is to run: a Job that asks for what the plan says the block takes. " +
			"Nothing is run, and no cluster is asked. A block waits for those that it needs. Secrets are named, never written.",
		example: "stepflow render -executor kubernetes -image example/stepflow:1 -out manifests pipelines/quickstart",
		flags: func(a *app, f *flag.FlagSet) {
			common(a, f)
			selecting(a, f)
			f.StringVar(&executor, "executor", "", "what the manifests are for: kubernetes")
			f.StringVar(&out, "out", "", "folder to write to; what an earlier render wrote there is replaced")
			f.StringVar(&o.Image, "image", "", "image of the containers, with stepflow in its PATH")
			f.StringVar(&o.Namespace, "namespace", "", "namespace of all objects (default: the one of kubectl's context)")
			f.StringVar(&o.Claim, "claim", "", "an existing PersistentVolumeClaim for the shared folder (default: one is written)")
			f.StringVar(&o.StorageClass, "storage-class", "", "of the claim that is written; it must offer ReadWriteMany (default: the "+
				"cluster's)")
			f.StringVar(&storage, "storage", "", "size of the claim that is written, as 200GiB (default: by what the plan says)")
			f.StringVar(&o.CPUs, "cpus", "2", "processors that a container asks for")
			f.StringVar(&o.GPU, "gpu-resource", "nvidia.com/gpu", "resource of a card, with -device cuda")
			f.StringVar(&o.GPUMemory, "gpu-memory-label", "", "label of nodes that holds their cards' memory in MiB, as "+
				"nvidia.com/gpu.memory; a block then asks for a card that it fits")
			f.IntVar(&o.Ranks, "ranks", 1, "ranks that train a stage")
			f.BoolVar(&o.OnePod, "one-pod", false, "all ranks of a stage in one pod, started there by mpirun, as they always are on "+
				"the CPU; without it, each has a pod and a card")
			f.IntVar(&o.Retries, "retries", 3, "how often a Job tries again after its pod failed")
			repeated(f, "secret", "a Secret whose keys become environment variables, such as STEPFLOW_VAR_token; can be repeated", &o.Secrets)
			repeated(f, "image-pull-secret", "a Secret that the image is pulled with; can be repeated", &o.PullSecrets)
			f.Func("node-selector", "a label that nodes must have, as key=value; can be repeated", func(s string) error {
				k, v, ok := strings.Cut(s, "=")
				if !ok || k == "" {
					return errors.New("write key=value")
				}
				if o.NodeSelector == nil {
					o.NodeSelector = map[string]string{}
				}
				o.NodeSelector[k] = v
				return nil
			})
			f.Func("toleration", "a taint that nodes may have, as key[=value][:effect]; can be repeated", func(s string) error {
				t, err := toleration(s)
				o.Tolerations = append(o.Tolerations, t)
				return err
			})
		},
		run: func(a *app, args []string) int {
			switch {
			case executor == "":
				return a.misuse("stepflow render: give -executor kubernetes, for which it writes manifests")
			case executor != "kubernetes":
				return a.misuse("stepflow render: it writes manifests for kubernetes alone, not for %q. Blocks that name an executor \"slurm\" are "+
					"submitted by stepflow apply", executor)
			case out == "":
				return a.misuse("stepflow render: give -out, the folder to write to")
			case o.Image == "":
				return a.misuse("stepflow render: give -image, which the nodes can pull; the Containerfile of stepflow's sources makes one")
			case o.Ranks < 1 || o.Retries < 0:
				return a.misuse("stepflow render: -ranks is at least 1, -retries at least 0")
			case a.selection.RefreshOnly:
				return a.misuse("stepflow render: -refresh-only runs nothing, so that there is nothing to render")
			}
			if storage != "" {
				n, err := dsl.ParseMemory(storage)
				if err != nil {
					return a.fail(fmt.Errorf("-storage: %w", err))
				}
				o.Storage = n
			}
			return a.render(args, out, o)
		}}
}

// repeated adds a flag that can be given several times.
func repeated(f *flag.FlagSet, name, usage string, list *[]string) {
	f.Func(name, usage, func(s string) error {
		if s == "" {
			return errors.New("it needs a name")
		}
		*list = append(*list, s)
		return nil
	})
}

// toleration reads key[=value][:effect].
func toleration(s string) (t kubernetes.Toleration, err error) {
	taint, effect, _ := strings.Cut(s, ":")
	key, value, equal := strings.Cut(taint, "=")
	t = kubernetes.Toleration{Key: key, Operator: "Exists", Effect: effect}
	if equal {
		t.Operator, t.Value = "Equal", value
	}
	if !slices.Contains([]string{"", "NoSchedule", "PreferNoSchedule", "NoExecute"}, effect) {
		err = fmt.Errorf("the effect of a taint is NoSchedule, PreferNoSchedule or NoExecute, not %q", effect)
	}
	if key == "" {
		err = errors.New("write key[=value][:effect]")
	}
	return t, err
}

func (a *app) render(args []string, out string, o kubernetes.Options) int {
	dir, err := filepath.Abs(dirArg(args))
	if err != nil {
		return a.fail(err)
	}
	if st, err := os.Stat(dir); err == nil && !st.IsDir() {
		return a.misuse("stepflow render: give the pipeline's folder, which the pods share, not the file %s", foreign.Shown(dirArg(args)))
	}
	a.lifecycle, a.imagined = true, o.Ranks
	p, ok := a.plan(args, true)
	if !ok {
		return exitError
	}
	o.Folder = filepath.Base(dir)
	o.Name = o.Folder
	if kind, _, _ := a.which(); kind == "cpu" {
		o.GPU, o.OnePod = "", true
	}
	if o.Storage == 0 {
		o.Storage = claimed(p, dir)
	}
	if err := a.passOn(p, dir, &o); err != nil {
		return a.fail(err)
	}
	files, err := kubernetes.Render(p, o)
	if err == nil {
		err = replace(out, files)
	}
	if err != nil {
		return a.fail(err)
	}
	a.rendered(p, out, files)
	return exitOK
}

// rendered says what was written.
func (a *app) rendered(p *plan.Plan, out string, files []kubernetes.File) {
	if a.json {
		var list []map[string]any
		for _, f := range files {
			m := map[string]any{"file": filepath.Join(out, f.Name)}
			if f.Of != nil {
				m["address"], m["recipe"] = f.Of.Addr.String(), f.Of.Recipe
			}
			list = append(list, m)
		}
		a.line(map[string]any{"format_version": "1.0", "type": "render", "executor": "kubernetes", "files": list})
		return
	}
	jobs := 0
	for _, f := range files {
		what := "the shared folder"
		if f.Of != nil {
			jobs++
			what = fmt.Sprintf("%s: %s", f.Of.Addr, f.Of.Verb)
		}
		fmt.Fprintf(a.stdout, "%-40s  %s\n", f.Name, what)
	}
	if jobs == 0 {
		fmt.Fprintf(a.stdout, "Everything is up to date: there is no block to run.\n")
		return
	}
	fmt.Fprintf(a.stdout, "Wrote %s to %s. To run them: kubectl apply -f %s\n", words.Plural(jobs, "Job"), foreign.Shown(out), shellWord(out))
}

// passOn adds what the flags and the environment say about device and variables. Values of sensitive variables are left to a
// Secret.
func (a *app) passOn(p *plan.Plan, dir string, o *kubernetes.Options) error {
	for _, x := range []struct{ name, value, otherwise string }{
		{"-device", a.device, "cpu"}, {"-device-memory", a.deviceMemory, ""},
		{"-compute-capability", a.capability, "8.0"},
		{"-backend", a.backend, ""}, {"-artifacts", a.artifacts, ""},
	} {
		if x.value != x.otherwise {
			o.Arguments = append(o.Arguments, x.name, x.value)
		}
	}
	for _, f := range a.given {
		if f.File != "" {
			path, err := filepath.Abs(f.File)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			if err != nil || !filepath.IsLocal(rel) {
				return fmt.Errorf("-var-file %s is not in the pipeline's folder, which alone the pods see: copy it there", foreign.Shown(f.File))
			}
			o.Arguments = append(o.Arguments, "-var-file", filepath.ToSlash(rel))
			continue
		}
		if name, _, _ := strings.Cut(f.Var, "="); !p.Config.Variables[name].Sensitive {
			o.Arguments = append(o.Arguments, "-var", f.Var)
		}
	}
	var secret []string
	for _, v := range p.Config.Variables {
		switch given := strings.HasPrefix(v.Source, "the environment") || v.Source == "-var"; {
		case v.Sensitive && given:
			secret = append(secret, dsl.EnvPrefix+v.Name)
		case given && v.Source != "-var":
			if text, ok := lookup(a.env, dsl.EnvPrefix+v.Name); ok {
				o.Variables = append(o.Variables, kubernetes.Variable{Name: v.Name, Value: text})
			}
		}
	}
	slices.Sort(secret)
	slices.SortFunc(o.Variables, func(x, y kubernetes.Variable) int { return strings.Compare(x.Name, y.Name) })
	if len(secret) > 0 && len(o.Secrets) == 0 {
		return fmt.Errorf("the values of sensitive variables are not written into manifests: put %s into a Secret, and name it with -secret",
			strings.Join(secret, ", "))
	}
	return nil
}

// lookup finds a variable of the environment.
func lookup(env []string, name string) (string, bool) {
	for _, kv := range slices.Backward(env) {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			return v, true
		}
	}
	return "", false
}

// claimed is the size of a claim for the pipeline's folder: what lies there and what the run writes, and a quarter of that.
func claimed(p *plan.Plan, dir string) (n int64) {
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil
		case d.IsDir() && path == p.StateDir:
			return filepath.SkipDir
		case d.Type().IsRegular():
			if st, err := d.Info(); err == nil {
				n += st.Size()
			}
		}
		return nil
	})
	for _, d := range p.Disks() {
		n += d.Most
	}
	return n + n/4
}

// replace writes manifests into a folder in place of those that an earlier call wrote.
func replace(folder string, files []kubernetes.File) error {
	if err := durable.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	var old []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".yaml" {
			continue
		}
		path := filepath.Join(folder, e.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(b, []byte(kubernetes.Mark)) {
			return fmt.Errorf("%s is not a manifest that stepflow rendered, and kubectl apply -f would take it for one: give another -out",
				foreign.Shown(path))
		}
		old = append(old, e.Name())
	}
	for _, f := range files {
		if err := durable.WriteFile(filepath.Join(folder, f.Name), f.Text); err != nil {
			return err
		}
		old = slices.DeleteFunc(old, func(name string) bool { return name == f.Name })
	}
	for _, name := range old {
		if err := durable.Remove(filepath.Join(folder, name)); err != nil {
			return err
		}
	}
	return nil
}
