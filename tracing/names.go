// Package tracing sets up OpenTelemetry and owns the names of spans, attributes and metrics. It
// imports nothing of stepflow's: others pass it plain values.
package tracing

// Name is a row of the table of names.
type Name struct {
	Name string
	Unit string // UCUM; empty for text and flags
	Doc  string
}

// Spans are the names of spans.
var Spans = []Name{
	{"apply", "", "one run of stepflow apply"},
	{"block", "", "a block that runs; its span is named by the block's kind, the address is an attribute"},
	{"grow", "", "making a larger model out of a checkpoint"},
	{"train", "", "the steps of a stage"},
	{"checkpoint", "", "writing a checkpoint"},
	{"step", "", "one sampled optimizer step"},
	{"operation", "", "one device operation of a sampled step; its span is named by the kernel, its times are the device's"},
}

// Attributes are the names of span attributes.
var Attributes = []Name{
	{Address, "", "address of the block"},
	{Stage, "", "address of the stage a step belongs to"},
	{StepNumber, "", "number of the optimizer step, from 1"},
	{Tokens, "{token}", "tokens the stage has trained on"},
	{Loss, "", "mean cross entropy of the batch, nats a token"},
	{LearningRate, "", "learning rate of the step"},
	{GradNorm, "", "global gradient norm before clipping"},
	{MemoryUsage, "By", "device memory the program holds"},
	{TokensPerSecond, "{token}/s", "tokens of the step by its duration"},
	{MFU, "1", "model FLOPs by time and the device's measured peak"},
	{DataWait, "s", "time the step waited for data"},
	{OpKernel, "", "kernel of the operation"},
	{OpName, "", "place in the model"},
	{OpPhase, "", "forward, backward or update"},
	{OpLayer, "", "index of the layer; -1 outside the layers"},
	{OpShapes, "", "types of inputs and outputs"},
	{OpFLOPs, "{operation}", "floating-point operations"},
	{OpBytes, "By", "bytes read and written at least"},
	{OpGFLOPs, "G{operation}/s", "FLOPs by device time"},
	{OpGBs, "GBy/s", "bytes by device time"},
	{Device, "", "device the operation ran on"},
}

// The names themselves. All of stepflow's own start with stepflow.
const (
	Address         = "stepflow.address"
	Stage           = "stepflow.stage"
	StepNumber      = "stepflow.step"
	Tokens          = "stepflow.tokens"
	Loss            = "stepflow.loss"
	LearningRate    = "stepflow.learning_rate"
	GradNorm        = "stepflow.grad_norm"
	MemoryUsage     = "stepflow.memory.usage"
	TokensPerSecond = "stepflow.tokens_per_second"
	MFU             = "stepflow.mfu"
	DataWait        = "stepflow.data.wait"
	OpKernel        = "stepflow.operation.kernel"
	OpName          = "stepflow.operation.name"
	OpPhase         = "stepflow.operation.phase"
	OpLayer         = "stepflow.operation.layer"
	OpShapes        = "stepflow.operation.shapes"
	OpFLOPs         = "stepflow.operation.flops"
	OpBytes         = "stepflow.operation.bytes"
	OpGFLOPs        = "stepflow.operation.gflops"
	OpGBs           = "stepflow.operation.gbytes"
	Device          = "hw.name"
)

// Metrics are the names of instruments: gauges of the last step.
var Metrics = []Name{
	{Loss, "1", "mean cross entropy of the batch, nats a token"},
	{LearningRate, "1", "learning rate"},
	{GradNorm, "1", "global gradient norm"},
	{Tokens, "{token}", "tokens the stage has trained on"},
	{TokensPerSecond, "{token}/s", "throughput"},
	{MFU, "1", "model FLOPs utilization of the measured peak"},
	{MemoryUsage, "By", "device memory the program holds"},
	{DataWait, "s", "time the step waited for data"},
}
