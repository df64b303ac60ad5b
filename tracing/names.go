package tracing

// SpanName is a row of the table of spans.
type SpanName struct {
	Name   string
	Parent string // name of its parent; empty for the root of a trace
	Doc    string
}

// Spans lists the names of spans. A trace is sent whole when its root ends, so that none is seen without its root.
var Spans = []SpanName{
	{SpanApply, "", "one run of `stepflow apply`; it ends at once, so that a run is visible from its first second, " +
		"and all other traces of the run link to it"},
	{"tokenizer", "", "a tokenizer being trained"},
	{"stage", "", "a stage, from the first byte read to the last byte saved"},
	{"evaluate", "", "an evaluation"},
	{"export", "", "an export"},
	{SpanGrow, "stage", "making the stage's first weights: random, imported, or grown from the stage before"},
	{SpanRestore, "stage", "reading the checkpoint from which an interrupted stage resumes"},
	{SpanTrain, "stage", "all steps of the stage in this run"},
	{SpanCheckpoint, "train, stage", "writing a checkpoint"},
	{SpanStep, "", "one sampled optimizer step; links to its stage and its run"},
	{SpanData, "step", "waiting for the batch"},
	{SpanZero, "step", "clearing the gradients"},
	{SpanMicro, "step", "forward and backward passes of one micro-batch"},
	{SpanUpdate, "step", "clipping and the optimizer"},
	{"KERNEL", "zero_grad, micro_batch, optimizer", "one device operation, named after its kernel, with the " +
		"device's own times"},
}

// Names of spans. A block's span is named after the block's kind, an operation's after its kernel.
const (
	SpanApply      = "apply"
	SpanGrow       = "grow"
	SpanRestore    = "restore"
	SpanTrain      = "train"
	SpanCheckpoint = "checkpoint"
	SpanStep       = "step"
	SpanData       = "data"
	SpanZero       = "zero_grad"
	SpanMicro      = "micro_batch"
	SpanUpdate     = "optimizer"
)

// Name is a row of the table of attributes.
type Name struct {
	Name string
	Unit string // UCUM; empty for text and flags
	Doc  string
}

// Attributes lists the attributes of spans, links and events. Those that do not start with stepflow are
// OpenTelemetry's semantic conventions.
var Attributes = []Name{
	{Run, "", "id of the run: the trace id of its `apply` span"},
	{Pipeline, "", "folder of the pipeline"},
	{Address, "", "address of the block"},
	{Outcome, "", "how a block ended: `done`, `failed`, `interrupted`, or `killed`, as the next run found"},
	{Stage, "", "address of the stage a step belongs to"},
	{StepNumber, "{step}", "number of the optimizer step, from 1"},
	{Steps, "{step}", "optimizer steps of the stage"},
	{Why, "", "why a step was sampled: `first`, `every`, `last`, `slow` (slower than three times the median of the " +
		"64 steps before) or `failed`"},
	{Tokens, "{token}", "tokens the stage has trained on, including this step"},
	{Loss, "1", "mean cross entropy of the batch, nats a token"},
	{LearningRate, "1", "learning rate of the step"},
	{GradNorm, "1", "global gradient norm before clipping"},
	{MemoryUsage, "By", "device memory that the program holds"},
	{MemoryKind, "", "what device memory is used for: weights, gradients, optimizer, adapters, padding, " +
		"activations, workspace or inputs"},
	{TokensPerSecond, "{token}/s", "tokens of the step divided by its duration"},
	{MFU, "1", "model FLOPs divided by time and by the device's measured peak (Chowdhery et al. 2022, appendix B)"},
	{MicroBatch, "", "index of the micro-batch in its step"},
	{OpKernel, "", "kernel of the operation"},
	{OpName, "", "place in the model, such as model.layers.3.mlp.gate_proj"},
	{OpPhase, "", "`forward`, `backward` or `update`"},
	{OpLayer, "", "index of the layer; -1 outside the layers"},
	{OpShapes, "", "types of inputs and outputs, such as `f32[8 128 256]`"},
	{OpDType, "", "element type of the first output"},
	{OpFLOPs, "{operation}", "floating-point operations"},
	{OpBytes, "By", "the least bytes to read and write"},
	{OpGFLOPs, "G{operation}/s", "FLOPs divided by device time"},
	{OpGBs, "GBy/s", "bytes divided by device time"},
	{LinkTo, "", "what a link leads to: `run`, `previous run`, `stage` or `previous attempt`"},
	{Device, "", "device of the run"},
	{CodeFile, "", "file of the block's configuration"},
	{CodeLine, "", "line of the block in it"},
	{ErrorType, "", "class of the error, on a failed span"},
	{"exception.type", "", "class of the error, on an `exception` event"},
	{"exception.message", "", "text of the error, on an `exception` event"},
}

// The names themselves. All of stepflow's own start with stepflow.
const (
	Run             = "stepflow.run"
	Pipeline        = "stepflow.pipeline"
	Address         = "stepflow.address"
	Outcome         = "stepflow.outcome"
	Stage           = "stepflow.stage"
	StepNumber      = "stepflow.step"
	Steps           = "stepflow.steps"
	Why             = "stepflow.step.reason"
	Tokens          = "stepflow.tokens"
	Loss            = "stepflow.loss"
	LearningRate    = "stepflow.learning_rate"
	GradNorm        = "stepflow.grad_norm"
	MemoryUsage     = "stepflow.memory.usage"
	MemoryKind      = "stepflow.memory.kind"
	TokensPerSecond = "stepflow.tokens_per_second"
	MFU             = "stepflow.mfu"
	MicroBatch      = "stepflow.micro_batch"
	OpKernel        = "stepflow.operation.kernel"
	OpName          = "stepflow.operation.name"
	OpPhase         = "stepflow.operation.phase"
	OpLayer         = "stepflow.operation.layer"
	OpShapes        = "stepflow.operation.shapes"
	OpDType         = "stepflow.operation.dtype"
	OpFLOPs         = "stepflow.operation.flops"
	OpBytes         = "stepflow.operation.bytes"
	OpGFLOPs        = "stepflow.operation.gflops"
	OpGBs           = "stepflow.operation.gbytes"
	LinkTo          = "stepflow.link"
	Device          = "hw.name"
	CodeFile        = "code.file.path"
	CodeLine        = "code.line.number"
	ErrorType       = "error.type"
)

// Instrument is how a metric adds up.
type Instrument string

const (
	Gauge     Instrument = "gauge"
	Counter   Instrument = "counter"
	Histogram Instrument = "histogram"
)

// Metric is a row of the table of metrics. All have the attribute stepflow.stage.
type Metric struct {
	Name       string
	Instrument Instrument
	Unit       string
	Doc        string
}

// Names of metrics that are not attributes of spans.
const (
	MetricStep       = "stepflow.step.duration"
	MetricWait       = "stepflow.data.wait"
	MetricQueue      = "stepflow.data.queue.depth"
	MetricCheckpoint = "stepflow.checkpoint.duration"
	MetricSkipped    = "stepflow.steps.skipped"
)

// Metrics lists the instruments.
var Metrics = []Metric{
	{Loss, Gauge, "1", "mean cross entropy of the last batch, nats a token"},
	{LearningRate, Gauge, "1", "learning rate of the last step"},
	{GradNorm, Gauge, "1", "global gradient norm of the last step before clipping"},
	{StepNumber, Gauge, "{step}", "number of the last step"},
	{Tokens, Counter, "{token}", "tokens trained on by this run"},
	{MetricSkipped, Counter, "{step}", "steps skipped because they were not finite"},
	{TokensPerSecond, Gauge, "{token}/s", "throughput of the last step"},
	{MFU, Gauge, "1", "model FLOPs utilization of the measured peak"},
	{MemoryUsage, Gauge, "By", "device memory in use, by stepflow.memory.kind"},
	{MetricStep, Histogram, "s", "time of a step"},
	{MetricWait, Histogram, "s", "time a step waited for data"},
	{MetricQueue, Gauge, "{batch}", "batches packed ahead of the step"},
	{MetricCheckpoint, Histogram, "s", "time of writing a checkpoint"},
}
