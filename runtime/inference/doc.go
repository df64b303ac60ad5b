// Package inference runs a model that lies in a folder: an exported one, one of Hugging Face's, or a checkpoint of a stage.
// It finds its weights, merges adapters that lie beside them, and reads what generation_config.json says. Start with Open.
package inference
