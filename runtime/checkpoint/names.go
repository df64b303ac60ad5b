package checkpoint

// Files of a model's folder, named as Hugging Face names them where it has such a file. A checkpoint has no IndexFile, since
// its weights are in one file, and no GenerationFile.
const (
	ModelFile         = "model.safetensors"
	IndexFile         = ModelFile + ".index.json" // says which file a tensor is in, of weights in several
	AdapterFile       = "adapter_model.safetensors"
	AdapterConfigFile = "adapter_config.json"
	MergedAdapterFile = "merged_adapter.safetensors" // of a result: the adapters as they were when they were merged
	OptimizerFile     = "optimizer.safetensors"
	TrainerFile       = "trainer_state.json"
	ConfigFile        = "config.json"
	GenerationFile    = "generation_config.json"
	TokenizerFile     = "tokenizer.json"
)

// AdaptersIn names the file of a result that holds the adapters: those that are kept apart from the weights, or those that were
// merged into them.
func AdaptersIn(apart bool) string {
	if apart {
		return AdapterFile
	}
	return MergedAdapterFile
}

// AdapterPrefix starts the names of tensors in an adapter file of PEFT.
const AdapterPrefix = "base_model.model."

// What the names of an adapter's tensors end with, after the name of its module.
const (
	AdapterDown   = ".lora_A.weight"
	AdapterUp     = ".lora_B.weight"
	AdapterValues = ".sparse_value" // of SLTrain
	AdapterPlaces = ".sparse_index" // of SLTrain
)
