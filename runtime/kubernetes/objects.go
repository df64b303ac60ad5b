package kubernetes

// What is written of the API's types, under their names there; testdata/openapi.json holds the schemas that a test compares with.
// Optional fields that are zero are left out.
type (
	meta struct {
		Name        string            `yaml:"name,omitempty"`
		Namespace   string            `yaml:"namespace,omitempty"`
		Labels      map[string]string `yaml:"labels,omitempty"`
		Annotations map[string]string `yaml:"annotations,omitempty"`
	}
	object[Spec any] struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string `yaml:"kind"`
		Metadata   meta   `yaml:"metadata"`
		Spec       Spec   `yaml:"spec"`
	}

	claimSpec struct {
		AccessModes      []string  `yaml:"accessModes"`
		Resources        resources `yaml:"resources"`
		StorageClassName string    `yaml:"storageClassName,omitempty"`
	}
	serviceSpec struct {
		ClusterIP                string            `yaml:"clusterIP"`
		PublishNotReadyAddresses bool              `yaml:"publishNotReadyAddresses"`
		Selector                 map[string]string `yaml:"selector"`
		Ports                    []servicePort     `yaml:"ports"`
	}
	servicePort struct {
		Name string `yaml:"name"`
		Port int    `yaml:"port"`
	}

	jobSpec struct {
		CompletionMode   string        `yaml:"completionMode,omitempty"`
		Completions      int           `yaml:"completions,omitempty"`
		Parallelism      int           `yaml:"parallelism,omitempty"`
		BackoffLimit     int           `yaml:"backoffLimit"`
		PodFailurePolicy failurePolicy `yaml:"podFailurePolicy"`
		Template         podTemplate   `yaml:"template"`
	}
	failurePolicy struct {
		Rules []failureRule `yaml:"rules"`
	}
	failureRule struct {
		Action          string         `yaml:"action"`
		OnExitCodes     *exitCodes     `yaml:"onExitCodes,omitempty"`
		OnPodConditions []podCondition `yaml:"onPodConditions,omitempty"`
	}
	exitCodes struct {
		ContainerName string `yaml:"containerName"`
		Operator      string `yaml:"operator"`
		Values        []int  `yaml:"values"`
	}
	podCondition struct {
		Type   string `yaml:"type"`
		Status string `yaml:"status"`
	}

	podTemplate struct {
		Metadata meta    `yaml:"metadata"`
		Spec     podSpec `yaml:"spec"`
	}
	podSpec struct {
		Subdomain                     string            `yaml:"subdomain,omitempty"`
		RestartPolicy                 string            `yaml:"restartPolicy"`
		TerminationGracePeriodSeconds int               `yaml:"terminationGracePeriodSeconds"`
		AutomountServiceAccountToken  bool              `yaml:"automountServiceAccountToken"`
		EnableServiceLinks            bool              `yaml:"enableServiceLinks"`
		SecurityContext               podSecurity       `yaml:"securityContext"`
		NodeSelector                  map[string]string `yaml:"nodeSelector,omitempty"`
		Affinity                      *affinity         `yaml:"affinity,omitempty"`
		Tolerations                   []Toleration      `yaml:"tolerations,omitempty"`
		ImagePullSecrets              []reference       `yaml:"imagePullSecrets,omitempty"`
		InitContainers                []container       `yaml:"initContainers,omitempty"`
		Containers                    []container       `yaml:"containers"`
		Volumes                       []volume          `yaml:"volumes"`
	}
	podSecurity struct {
		RunAsNonRoot   bool           `yaml:"runAsNonRoot"`
		RunAsUser      int            `yaml:"runAsUser"`
		RunAsGroup     int            `yaml:"runAsGroup"`
		FSGroup        int            `yaml:"fsGroup"`
		SeccompProfile seccompProfile `yaml:"seccompProfile"`
	}
	seccompProfile struct {
		Type string `yaml:"type"`
	}
	affinity struct {
		NodeAffinity struct {
			Required struct {
				NodeSelectorTerms []nodeSelectorTerm `yaml:"nodeSelectorTerms"`
			} `yaml:"requiredDuringSchedulingIgnoredDuringExecution"`
		} `yaml:"nodeAffinity"`
	}
	nodeSelectorTerm struct {
		MatchExpressions []nodeRequirement `yaml:"matchExpressions"`
	}
	nodeRequirement struct {
		Key      string   `yaml:"key"`
		Operator string   `yaml:"operator"`
		Values   []string `yaml:"values"`
	}
	reference struct {
		Name string `yaml:"name"`
	}

	container struct {
		Name            string            `yaml:"name"`
		Image           string            `yaml:"image"`
		WorkingDir      string            `yaml:"workingDir"`
		Command         []string          `yaml:"command"`
		Args            []string          `yaml:"args"`
		Env             []envVar          `yaml:"env,omitempty"`
		EnvFrom         []envFrom         `yaml:"envFrom,omitempty"`
		Resources       resources         `yaml:"resources"`
		SecurityContext containerSecurity `yaml:"securityContext"`
		VolumeMounts    []volumeMount     `yaml:"volumeMounts"`
	}
	envVar struct {
		Name      string     `yaml:"name"`
		Value     string     `yaml:"value,omitempty"`
		ValueFrom *envSource `yaml:"valueFrom,omitempty"`
	}
	envSource struct {
		FieldRef struct {
			FieldPath string `yaml:"fieldPath"`
		} `yaml:"fieldRef"`
	}
	envFrom struct {
		SecretRef reference `yaml:"secretRef"`
	}
	resources struct {
		Requests map[string]string `yaml:"requests,omitempty"`
		Limits   map[string]string `yaml:"limits,omitempty"`
	}
	containerSecurity struct {
		AllowPrivilegeEscalation bool         `yaml:"allowPrivilegeEscalation"`
		Capabilities             capabilities `yaml:"capabilities"`
	}
	capabilities struct {
		Drop []string `yaml:"drop"`
	}
	volumeMount struct {
		Name      string `yaml:"name"`
		MountPath string `yaml:"mountPath"`
	}
	volume struct {
		Name                  string        `yaml:"name"`
		PersistentVolumeClaim *claimVolume  `yaml:"persistentVolumeClaim,omitempty"`
		EmptyDir              *memoryVolume `yaml:"emptyDir,omitempty"`
	}
	claimVolume struct {
		ClaimName string `yaml:"claimName"`
	}
	memoryVolume struct {
		Medium    string `yaml:"medium"`
		SizeLimit string `yaml:"sizeLimit"`
	}
)

// Toleration lets pods onto nodes with a taint.
type Toleration struct {
	Key      string `yaml:"key,omitempty"`
	Operator string `yaml:"operator"`
	Value    string `yaml:"value,omitempty"`
	Effect   string `yaml:"effect,omitempty"`
}
