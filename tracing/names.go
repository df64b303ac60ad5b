package tracing

// SpanName is a row of the table of spans.
type SpanName struct {
	Name   string
	Parent string // name of its parent; empty for the root of a trace
	Doc    string
}

// Spans lists the names of spans. Words in capitals stand for what differs.
var Spans = []SpanName{
	{SpanApply + " PIPELINE", "", "one run of `stepflow apply`, named after the pipeline's folder"},
	{SpanPlan + " · apply PIPELINE", "apply", "making the plan"},
	{"part NUMBER · apply PIPELINE", "apply", "first in a later trace of the run, which it names until the root is sent"},
	{SpanPlan + " PIPELINE", "", "making the plan, part by part; links to itself in the run's trace, whose root links back"},
	{SpanLoad, "plan", "reading, parsing and linking the configuration"},
	{SpanPlan + " ADDRESS", "plan", "planning a block: reading what it is made from, and predicting what it takes; of the 100 " +
		"that take longest"},
	{SpanCompile + " ADDRESS", "plan ADDRESS", "compiling a stage's program; below it, building its graph, each pass, and " +
		"laying it out"},
	{SpanCompile + " ADDRESS, full model", "plan ADDRESS", "compiling what the stage is measured against"},
	{"ADDRESS", "apply", "a block that runs, named after its address, such as `stage.middle`"},
	{SpanGrow, "ADDRESS", "making the stage's first weights: random, imported, or grown from the stage before"},
	{SpanRestore, "ADDRESS", "reading the checkpoint from which an interrupted stage resumes"},
	{SpanTrain, "ADDRESS", "all steps of the stage in this run"},
	{"step NUMBER · ADDRESS", "train", "a sampled optimizer step, without its operations; links to its own trace"},
	{SpanDownload + " FILE", "ADDRESS", "a remote file that the block read from, from opening to closing it; " +
		"retries are events"},
	{SpanMerge, "ADDRESS", "merging the adapters for good, with the loss before and after"},
	{SpanEvaluate + " NAME", "train", "an evaluation between steps, named after its block; it says after which step"},
	{SpanCheckpoint, "train, ADDRESS", "writing a checkpoint"},
	{SpanVerify + " ADDRESS", "ADDRESS", "checking the bytes of a result that the block reads; fetching it first, if it is " +
		"elsewhere"},
	{SpanCount, "ADDRESS", "counting the words of the text that a tokenizer is trained on"},
	{SpanText + " NUMBER", "count words", "a MiB of the text; beyond 10, a span holds ten of them, then a hundred"},
	{SpanVocabulary, "ADDRESS", "joining the pairs that are most frequent into tokens"},
	{SpanWeights, "ADDRESS", "reading the weights of the model that an evaluation measures"},
	{SpanBatch + " NUMBER", "ADDRESS", "a batch of an evaluation; beyond 10, a span holds ten of them, then a hundred"},
	{SpanPrompt + " NUMBER", "ADDRESS", "a prompt being continued, or several as with batches"},
	{SpanWrite + " FILE", "ADDRESS", "writing a file of an export, and waiting until it is on disk"},
	{"step NUMBER · ADDRESS", "", "a sampled optimizer step with its operations; links to itself in the run's trace"},
	{SpanData, "step", "waiting for the batch"},
	{SpanZero, "step", "clearing the gradients, all operations as one span"},
	{SpanMicro + " NUMBER", "step", "forward and backward passes of one micro-batch"},
	{SpanForward, "micro_batch", "the forward pass"},
	{SpanBackward, "micro_batch", "the backward pass, with what is computed again for it"},
	{SpanReduce, "step", "on several ranks: the sums of gradients and loss over them, with waiting for the slowest"},
	{SpanRefresh, "step", "what the optimizer computes again in some steps, such as GaLore's projections"},
	{SpanUpdate, "step", "clipping and the optimizer"},
	{SpanSpread, "step", "with a shard: the updated weights, from their owners to all ranks"},
	{SpanLayer + " NUMBER", "forward, backward, optimizer", "the operations of a layer"},
	{"MODULE", "layer", "four or more operations of the same part of a layer, such as `self_attn` or `mlp`"},
	{"KERNEL", "zero_grad, forward, backward, layer, module, optimizer", "one device operation, named after its kernel, " +
		"with the device's own times"},
}

// Names of spans, or how they begin.
const (
	SpanApply      = "apply"
	SpanPlan       = "plan"
	SpanLoad       = "load"
	SpanCompile    = "compile"
	SpanGrow       = "grow"
	SpanRestore    = "restore"
	SpanTrain      = "train"
	SpanDownload   = "download"
	SpanMerge      = "merge"
	SpanCheckpoint = "checkpoint"
	SpanEvaluate   = "evaluate"
	SpanVerify     = "verify"
	SpanCount      = "count words"
	SpanText       = "text"
	SpanVocabulary = "make vocabulary"
	SpanWeights    = "read weights"
	SpanWrite      = "write"
	SpanBatch      = "batch"
	SpanPrompt     = "prompt"
	SpanStep       = "step"
	SpanData       = "data"
	SpanZero       = "zero_grad"
	SpanMicro      = "micro_batch"
	SpanForward    = "forward"
	SpanBackward   = "backward"
	SpanReduce     = "all_reduce"
	SpanRefresh    = "optimizer_refresh"
	SpanUpdate     = "optimizer"
	SpanSpread     = "broadcast"
	SpanLayer      = "layer"
)

// Events lists the events of spans: what happened in the middle of them.
var Events = []Name{
	{EventGrowth, "", "a stage grew; loss on the next micro-batch before and after"},
	{EventRestart, "", "ReLoRA's adapters were merged and begin again"},
	{EventSpike, "", "a step's loss is far above the loss of the steps before"},
	{EventSkipped, "", "a step whose loss or gradient was not finite changed no weight"},
	{EventRetry, "", "a request failed and was made again"},
	{EventWarning, "", "a warning that the run gave"},
	{EventException, "", "the error that a span ended with"},
}

// Names of events.
const (
	EventGrowth    = "growth"
	EventRestart   = "restart"
	EventSpike     = "spike"
	EventSkipped   = "skipped step"
	EventRetry     = "retry"
	EventWarning   = "warning"
	EventException = "exception"
)

// Name is a row of the table of attributes, or of events.
type Name struct {
	Name string
	Unit string // UCUM; empty for text and flags
	Doc  string
}

// Attributes lists the attributes of spans, links and events. Those that do not start with stepflow are
// OpenTelemetry's semantic conventions.
var Attributes = []Name{
	{Run, "", "id of the run: the trace id of its first `apply` span"},
	{Pipeline, "", "folder of the pipeline"},
	{Rank, "", "rank of the process that did it, from 0; only where several ranks run together"},
	{Address, "", "address of the block"},
	{Outcome, "", "how a block ended: `done`, `failed`, `interrupted`, or `killed`, as the next run found"},
	{TraceOf, "", "what the trace shows, on its root: `run`, `step` or `plan`"},
	{Part, "", "number of the trace among those of its run, from 2: a run that takes days begins a new one every day"},
	{Stage, "", "address of the stage a span belongs to"},
	{StepNumber, "{step}", "number of the optimizer step, from 1"},
	{Steps, "{step}", "optimizer steps of the stage"},
	{Collectives, "s", "time of the step in operations in which all ranks take part: moving bytes, and waiting for ranks that " +
		"are not there yet. The slowest rank has the least"},
	{Why, "", "why a step was sampled: `first`, `every`, `last`, `slow` (slower than three times the median of the " +
		"64 steps before) or `failed`"},
	{Tokens, "{token}", "tokens the stage has trained on, including this step"},
	{Loss, "1", "mean cross entropy of the batch, nats a token"},
	{LossBefore, "1", "loss on a micro-batch before growth or a merge, nats a token"},
	{LossAfter, "1", "loss on the same micro-batch after it"},
	{LossChange, "1", "largest change of a token's loss by a merge"},
	{LossMean, "1", "mean loss of the steps before a spike"},
	{Evaluation, "", "name of an evaluation between steps"},
	{EvaluationLoss, "1", "loss that an evaluation between steps gave, nats a token"},
	{EvaluationTokens, "{token}", "tokens that it measured, or scored and wrote"},
	{EvaluationValues, "", "the values of an evaluation of tasks between steps, such as `hellaswag.acc 0.31, hellaswag.acc_stderr 0.0046`"},
	{EvaluationMetric, "", "name of a value of an evaluation of tasks, such as `hellaswag.acc`"},
	{LayersBefore, "{layer}", "layers before growth"},
	{LayersAfter, "{layer}", "layers after growth"},
	{MergeError, "1", "share of what adapters learnt that rounding to bf16 kept out of the weights"},
	{Bytes, "By", "bytes written, or fetched"},
	{URL, "", "address of a remote file, without what may be secret in it"},
	{Requests, "{request}", "requests for parts of a remote file"},
	{Retries, "{request}", "requests that were made again"},
	{Waited, "s", "time that was spent waiting for answers"},
	{Message, "", "text of a warning, or why a request was made again"},
	{LearningRate, "1", "learning rate of the step"},
	{GradNorm, "1", "global gradient norm before clipping"},
	{MemoryUsage, "By", "device memory that the program holds"},
	{MemoryKind, "", "what device memory is used for: weights, gradients, optimizer, adapters, padding, " +
		"activations, workspace, inputs or cache"},
	{TokensPerSecond, "{token}/s", "tokens of the step divided by its duration"},
	{MFU, "1", "model FLOPs divided by time and by the device's measured peak (Chowdhery et al. 2022, appendix B)"},
	{MicroBatch, "", "index of the micro-batch in its step"},
	{OpKernel, "", "kernel of the operation"},
	{OpName, "", "place in the model, such as model.layers.3.mlp.gate_proj"},
	{OpPhase, "", "`forward`, `backward` or `update`"},
	{Layer, "", "index of the layer; -1 outside the layers"},
	{Operations, "{operation}", "device operations that a span stands for"},
	{OpShapes, "", "types of inputs and outputs, such as `f32[8 128 256]`"},
	{OpDType, "", "element type of the first output"},
	{OpFLOPs, "{operation}", "floating-point operations"},
	{OpBytes, "By", "the least bytes to read and write"},
	{OpGFLOPs, "G{operation}/s", "FLOPs divided by device time"},
	{OpGBs, "GBy/s", "bytes divided by device time"},
	{LinkTo, "", "what a link leads to: `run`, `operations` (the trace of a step), `plan`, `previous run`, `previous attempt`, or " +
		"`previous part` of the run"},
	{Device, "", "device of the run"},
	{CodeFile, "", "file of the block's configuration"},
	{CodeLine, "", "line of the block in it"},
	{ErrorType, "", "class of the error, on a failed span"},
	{ExceptionType, "", "class of the error, on an `exception` event"},
	{ExceptionMessage, "", "text of the error, on an `exception` event"},
}

// The names themselves. All of stepflow's own start with stepflow.
const (
	Run             = "stepflow.run"
	Pipeline        = "stepflow.pipeline"
	Rank            = "stepflow.rank"
	Collectives     = "stepflow.collectives"
	Address         = "stepflow.address"
	Outcome         = "stepflow.outcome"
	TraceOf         = "stepflow.trace"
	Part            = "stepflow.part"
	Stage           = "stepflow.stage"
	Layer           = "stepflow.layer"
	Operations      = "stepflow.operations"
	StepNumber      = "stepflow.step"
	Steps           = "stepflow.steps"
	Why             = "stepflow.step.reason"
	Tokens          = "stepflow.tokens"
	Loss            = "stepflow.loss"
	LossBefore      = "stepflow.loss.before"
	LossAfter       = "stepflow.loss.after"
	LossChange      = "stepflow.loss.change"
	LossMean        = "stepflow.loss.mean"
	Evaluation      = "stepflow.evaluation"
	EvaluationLoss  = "stepflow.evaluation.loss"
	LayersBefore    = "stepflow.layers.before"
	LayersAfter     = "stepflow.layers.after"
	MergeError      = "stepflow.merge.error"
	Bytes           = "stepflow.bytes"
	URL             = "url.full"
	Requests        = "stepflow.requests"
	Retries         = "stepflow.retries"
	Waited          = "stepflow.waited"
	Message         = "stepflow.message"
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

	EvaluationTokens = "stepflow.evaluation.tokens"
	EvaluationValues = "stepflow.evaluation.values"
	EvaluationValue  = "stepflow.evaluation.value"
	EvaluationMetric = "stepflow.evaluation.metric"

	ExceptionType    = "exception.type"
	ExceptionMessage = "exception.message"
)

// Instrument is how a metric adds up.
type Instrument string

const (
	Gauge     Instrument = "gauge"
	Counter   Instrument = "counter"
	Histogram Instrument = "histogram"
)

// seconds are the bounds of the buckets of histograms, all of which are of seconds: a step takes a millisecond on a small
// model, and minutes on a large one. OpenTelemetry's usual bounds are for milliseconds.
var seconds = []float64{0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}

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
	{EvaluationLoss, Gauge, "1", "loss of the last evaluation between steps, by stepflow.evaluation, nats a token"},
	{EvaluationValue, Gauge, "1", "values of the last evaluation of tasks between steps, by stepflow.evaluation and stepflow.evaluation.metric"},
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
