package peft

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Config is what PEFT's adapter_config.json says of adapters.
type Config struct {
	PEFTType      string          `json:"peft_type"`
	TaskType      string          `json:"task_type"`
	Base          string          `json:"base_model_name_or_path,omitempty"`
	Revision      string          `json:"revision,omitempty"` // of the base
	Inference     bool            `json:"inference_mode,omitempty"`
	R             int             `json:"r"`
	Alpha         float64         `json:"lora_alpha"`
	UseRSLora     bool            `json:"use_rslora"`
	TargetModules json.RawMessage `json:"target_modules"`            // names, or a pattern
	ModulesToSave []string        `json:"modules_to_save,omitempty"` // that lie whole beside the adapters
	Bias          string          `json:"bias"`
	Dropout       float64         `json:"lora_dropout"`
	FanInFanOut   bool            `json:"fan_in_fan_out"`
	DoRA          bool            `json:"use_dora"`
	Sparsity      float64         `json:"sparsity,omitempty"` // of peft_type SLTRAIN, which PEFT does not know
}

// Types of adapters.
const (
	typeLoRA    = "LORA"
	typeSLTrain = "SLTRAIN"
)

// Config returns the configuration of adapters.
func (s Spec) Config(as []Adapter) Config {
	modules := make([]string, len(as))
	for i, a := range as {
		modules[i] = Module(a.Target)
	}
	list, err := json.Marshal(modules)
	if err != nil {
		panic("peft: names cannot be encoded: " + err.Error())
	}
	kind := typeLoRA
	if s.Composes() {
		kind = typeSLTrain
	}
	return Config{PEFTType: kind, TaskType: "CAUSAL_LM", R: s.R, Alpha: s.Alpha, UseRSLora: s.UseRSLora, TargetModules: list,
		Bias: "none", Sparsity: s.Sparsity}
}

// Check returns why adapters cannot be added by rank and scale alone; nil if they can.
func (c Config) Check() error {
	switch {
	case c.PEFTType != typeLoRA && c.PEFTType != typeSLTrain:
		return fmt.Errorf("peft_type is %q: only LORA is read, and SLTRAIN of stepflow's own checkpoints", c.PEFTType)
	case c.R < 1:
		return fmt.Errorf("r is %d: it is at least 1", c.R)
	case c.Bias != "" && c.Bias != "none":
		return fmt.Errorf("bias is %q: adapters with biases are not read", c.Bias)
	case len(c.ModulesToSave) > 0:
		return fmt.Errorf("modules_to_save is %q: modules beside the adapters are not read", c.ModulesToSave)
	case c.FanInFanOut:
		return errors.New("fan_in_fan_out is true: transposed weights are not read")
	case c.DoRA:
		return errors.New("use_dora is true: DoRA is not read")
	}
	return nil
}

// Spec is what the configuration says of the adapters' product.
func (c Config) Spec() Spec {
	method := "lora"
	if c.PEFTType == typeSLTrain {
		method = sltrain
	}
	return Spec{Method: method, R: c.R, Alpha: c.Alpha, UseRSLora: c.UseRSLora, Sparsity: c.Sparsity}
}
