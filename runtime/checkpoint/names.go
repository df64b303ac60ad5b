package checkpoint

// Files of a stage's checkpoint, named as Hugging Face names them where it has such a file.
const (
	ModelFile         = "model.safetensors"
	AdapterFile       = "adapter_model.safetensors"
	AdapterConfigFile = "adapter_config.json"
	OptimizerFile     = "optimizer.safetensors"
	TrainerFile       = "trainer_state.json"
	ConfigFile        = "config.json"
	TokenizerFile     = "tokenizer.json"
)

// AdapterPrefix starts the names of tensors in an adapter file of PEFT.
const AdapterPrefix = "base_model.model."
