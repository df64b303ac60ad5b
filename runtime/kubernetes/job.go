package kubernetes

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/plan"
	"stepflow/runtime/words"
)

// Exit codes of stepflow plan -detailed-exitcode, where blocks are still to run.
const notYet = 2

// What a container gets beside what is planned: an eighth, for what the C libraries of a device and of MPI take, and the
// memory through which ranks of a pod send.
const (
	memoryUnit   = 64 << 20
	sharedMemory = 1 << 30
)

// The user of containers, who owns what they write.
const user = 1000

// port is where rank 0 waits for the others.
const port = 29500

// grace is how many seconds a pod that is to end has for finishing its step and saving a checkpoint.
const grace = 600

// renderer makes the Jobs of a plan.
type renderer struct {
	Options
	plan  *plan.Plan
	run   []*plan.Action
	files map[addr.Addr]string // names of their manifests
	most  int64                // bytes of the host that a block takes whose figures are known
}

func newRenderer(p *plan.Plan, o Options) *renderer {
	r := &renderer{Options: o, plan: p, files: map[addr.Addr]string{}}
	for _, a := range p.Actions {
		if a.Verb.Works() || a.Verb == plan.Deferred && isTask(a) {
			r.run = append(r.run, a)
			r.most = max(r.most, r.host(a))
		}
	}
	width := len(strconv.Itoa(len(r.run)))
	for i, a := range r.run {
		r.files[a.Addr] = fmt.Sprintf("%0*d-%s.yaml", max(2, width), i+1, label(a.Addr.String()))
	}
	return r
}

// isTask reports whether a block has something to run, as far as its kind says.
func isTask(a *plan.Action) bool {
	switch a.Addr.Kind {
	case "tokenizer", "stage", "evaluate", "export":
		return true
	}
	return false
}

// file is the manifest of a block.
func (r *renderer) file(a *plan.Action) (File, error) {
	ranks, pods := r.ranks(a)
	after := r.after(a)
	about := []string{fmt.Sprintf("%s: %s", a.Addr, a.Verb)}
	if a.Verb != plan.Deferred {
		if s := a.Block.Summary(); s != "" {
			about[0] += ", " + s
		}
	}
	if len(after) > 0 {
		var names []string
		for _, x := range after {
			names = append(names, fmt.Sprintf("%s (%s)", x, r.files[x]))
		}
		about = append(about, "After "+strings.Join(names, ", ")+": until then, its pods end at once and are started again later.")
	}
	host, device := r.host(a), deviceBytes(a)
	if host == 0 {
		host = r.most
		about = append(about, "Its memory is known when what it needs has run; it asks for what the largest of the other blocks takes.")
	}
	if ranks > 1 {
		about = append(about, fmt.Sprintf("%s in %s.", words.Plural(ranks, "rank"), words.Plural(pods, "pod")))
	}

	job := object[jobSpec]{"batch/v1", "Job", meta{Namespace: r.Namespace}, r.job(a, after, host, device, ranks, pods)}
	// A Job cannot be changed: what is rendered otherwise has another name, and what is the same is left alone by kubectl apply.
	fixed, err := manifest(nil, job)
	if err != nil {
		return File{}, err
	}
	name := bounded(r.Name+"-"+a.Addr.String(), longestName-digits-1) + "-" + hash(string(fixed))
	labels := map[string]string{partOf: label(r.Name), managedBy: "stepflow", instance: name,
		ofBlock: bounded(a.Addr.String(), longestLabel)}
	if a.Recipe != "" {
		labels[ofRecipe] = a.Recipe[:12]
	}
	job.Metadata.Name, job.Metadata.Labels = name, labels
	job.Metadata.Annotations = map[string]string{fullBlock: a.Addr.String(), hostHas: strconv.FormatInt(host, 10)}
	if device > 0 {
		job.Metadata.Annotations[deviceHas] = strconv.FormatInt(device, 10)
	}
	job.Spec.Template.Metadata.Labels = labels
	objects := []any{job}
	if pods > 1 {
		job.Spec.Template.Spec.Subdomain = name
		c := &job.Spec.Template.Spec.Containers[0]
		c.Env = append(c.Env, rendezvous(name, ranks)...)
		objects = []any{object[serviceSpec]{"v1", "Service", meta{Name: name, Namespace: r.Namespace, Labels: labels},
			serviceSpec{ClusterIP: "None", PublishNotReadyAddresses: true, Selector: map[string]string{instance: name},
				Ports: []servicePort{{"rendezvous", port}}}}, job}
	}
	text, err := manifest(about, objects...)
	return File{Name: r.files[a.Addr], Text: text, Of: a}, err
}

// ranks returns how many ranks run a block, and in how many pods. Only stages have more than one.
func (r *renderer) ranks(a *plan.Action) (ranks, pods int) {
	switch {
	case a.Addr.Kind != "stage" || r.Ranks <= 1:
		return 1, 1
	case r.OnePod:
		return r.Ranks, 1
	}
	return r.Ranks, r.Ranks
}

// after lists the blocks that run before a block, in the order of the plan: those that it refers to, also through blocks that
// have nothing to run.
func (r *renderer) after(a *plan.Action) (list []addr.Addr) {
	before, seen := map[addr.Addr]bool{a.After: true}, map[addr.Addr]bool{a.Addr: true}
	var visit func(*plan.Action)
	visit = func(x *plan.Action) {
		for _, y := range r.plan.Actions {
			if seen[y.Addr] || !slices.Contains(x.Refs(), y.Addr.Block()) {
				continue
			}
			seen[y.Addr] = true
			switch {
			case r.files[y.Addr] != "":
				before[y.Addr] = true
			case y.Verb == plan.Same:
				before[y.After] = true
			default:
				visit(y)
			}
		}
	}
	visit(a)
	for _, x := range r.run {
		if before[x.Addr] && x != a {
			list = append(list, x.Addr)
		}
	}
	return list
}

// host is the most memory of the host that a block takes, for one rank; 0 if it is not known.
func (r *renderer) host(a *plan.Action) (most int64) {
	for _, x := range a.Phases() {
		most = max(most, plan.ProcessBytes+x.Host(r.GPU == ""))
	}
	return most
}

// deviceBytes is the memory of the device that a block takes, for one rank; 0 if it takes none or it is not known.
func deviceBytes(a *plan.Action) int64 {
	if f, ok := a.Block.(blocks.Forecaster); ok && a.Verb.Works() && a.Verb != plan.Import {
		if takes := f.Takes(); takes != nil {
			return takes.Peak
		}
	}
	return 0
}

// job is a Job without what depends on its name.
func (r *renderer) job(a *plan.Action, after []addr.Addr, host, device int64, ranks, pods int) jobSpec {
	inPod := ranks / pods
	need := r.resources(a, host, inPod)
	args := append([]string{"apply", "-no-color", "-lock-timeout", "8760h", "-target", a.Addr.String()}, r.Arguments...)
	if inPod > 1 {
		args = append(args, "-ranks", strconv.Itoa(inPod))
	}
	c := r.container("block", need, append(args, "."))
	s := jobSpec{BackoffLimit: r.Retries * pods, Template: podTemplate{Spec: podSpec{
		RestartPolicy: "Never", TerminationGracePeriodSeconds: grace, NodeSelector: r.NodeSelector, Tolerations: r.Tolerations,
		SecurityContext: podSecurity{RunAsNonRoot: true, RunAsUser: user, RunAsGroup: user, FSGroup: user,
			SeccompProfile: seccompProfile{"RuntimeDefault"}},
		Containers: []container{c},
		Volumes:    []volume{{Name: "work", PersistentVolumeClaim: &claimVolume{r.Claim}}},
	}}}
	pod := &s.Template.Spec
	for _, name := range r.PullSecrets {
		pod.ImagePullSecrets = append(pod.ImagePullSecrets, reference{name})
	}
	if ranks > 1 {
		pod.Volumes = append(pod.Volumes, volume{Name: "shm", EmptyDir: &memoryVolume{"Memory", quantity(sharedMemory, 1<<20)}})
		pod.Containers[0].VolumeMounts = append(pod.Containers[0].VolumeMounts, volumeMount{"shm", "/dev/shm"})
	}
	if r.GPU != "" && r.GPUMemory != "" && device > 0 {
		pod.Affinity = r.cards(device)
	}
	if pods > 1 {
		s.CompletionMode, s.Completions, s.Parallelism = "Indexed", pods, pods
	}
	// A node that is drained or reclaimed is no fault of the block: it goes on from its checkpoint.
	s.PodFailurePolicy.Rules = []failureRule{{Action: "Ignore",
		OnPodConditions: []podCondition{{Type: "DisruptionTarget", Status: "True"}}}}
	if len(after) > 0 {
		plan := []string{"plan", "-no-color", "-detailed-exitcode"}
		for _, x := range after {
			plan = append(plan, "-target", x.String())
		}
		pod.InitContainers = []container{r.container("after", need, append(append(plan, r.Arguments...), "."))}
		s.PodFailurePolicy.Rules = append(s.PodFailurePolicy.Rules, failureRule{Action: "Ignore",
			OnExitCodes: &exitCodes{"after", "In", []int{notYet}}})
	}
	return s
}

// container runs stepflow in the pipeline's folder.
func (r *renderer) container(name string, need resources, args []string) container {
	c := container{Name: name, Image: r.Image, WorkingDir: path.Join(mount, r.Folder), Command: []string{"stepflow"},
		Args: args, Resources: need,
		Env:             []envVar{{Name: "HOME", Value: "/tmp"}, {Name: "STEPFLOW_CACHE_DIR", Value: path.Join(mount, "cache")}},
		SecurityContext: containerSecurity{Capabilities: capabilities{Drop: []string{"ALL"}}},
		VolumeMounts:    []volumeMount{{"work", mount}}}
	for _, v := range r.Variables {
		c.Env = append(c.Env, envVar{Name: dsl.EnvPrefix + v.Name, Value: v.Value})
	}
	for _, s := range r.Secrets {
		c.EnvFrom = append(c.EnvFrom, envFrom{reference{s}})
	}
	for i, s := range c.Args { // $(NAME) would be replaced
		c.Args[i] = escape(s)
	}
	for i := range c.Env {
		c.Env[i].Value = escape(c.Env[i].Value)
	}
	return c
}

// escape writes a text so that Kubernetes takes no part of it as a reference to a variable.
func escape(s string) string { return strings.ReplaceAll(s, "$(", "$$(") }

// resources is what a container with a number of ranks asks for.
func (r *renderer) resources(a *plan.Action, host int64, ranks int) resources {
	memory := int64(ranks) * (host + host/8)
	if ranks > 1 || r.Ranks > 1 && a.Addr.Kind == "stage" {
		memory += sharedMemory
	}
	need := resources{Requests: map[string]string{"cpu": r.CPUs, "memory": quantity(memory, memoryUnit)},
		Limits: map[string]string{"memory": quantity(memory, memoryUnit)}}
	if r.GPU != "" && a.Alone() == blocks.TheDevice {
		need.Limits[r.GPU] = strconv.Itoa(ranks)
	}
	return need
}

// cards wants a card with enough memory.
func (r *renderer) cards(device int64) *affinity {
	mebibytes := (device + r.plan.Caps.Reserve + 1<<20 - 1) >> 20
	x := &affinity{}
	x.NodeAffinity.Required.NodeSelectorTerms = []nodeSelectorTerm{{[]nodeRequirement{
		{Key: r.GPUMemory, Operator: "Gt", Values: []string{strconv.FormatInt(mebibytes-1, 10)}}}}}
	return x
}

// rendezvous is the environment by which ranks in pods of their own find one another, as torchrun sets it.
func rendezvous(name string, ranks int) []envVar {
	index := &envSource{}
	index.FieldRef.FieldPath = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
	return []envVar{
		{Name: "RANK", ValueFrom: index},
		{Name: "LOCAL_RANK", Value: "0"},
		{Name: "WORLD_SIZE", Value: strconv.Itoa(ranks)},
		{Name: "MASTER_ADDR", Value: name + "-0." + name},
		{Name: "MASTER_PORT", Value: strconv.Itoa(port)},
	}
}
