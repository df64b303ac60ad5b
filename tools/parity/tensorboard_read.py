"""Reads the event files of a state's stages with TensorBoard's own reader and compares them with metrics.jsonl."""
import json
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAGS = {"train/loss": "loss", "train/learning_rate": "learning_rate", "train/grad_norm": "grad_norm", "train/epoch": "epoch",
        "train/num_input_tokens_seen": "tokens", "train/tokens_per_second": "tokens_per_second", "train/mfu": "mfu"}

stages = sorted(p.parent for p in Path(sys.argv[1]).glob("blocks/*/metrics.jsonl"))
assert stages, "no stage has metrics"
for stage in stages:
    lines = [json.loads(line) for line in open(stage / "metrics.jsonl")]
    steps = [x for x in lines if "evaluation" not in x]
    between = {}  # tag → step → value, of evaluations between steps
    for x in lines:
        for k, v in x.get("values", {}).items():
            between.setdefault(f"eval/{x['evaluation']}_{k}", {})[x["step"]] = v
    events = EventAccumulator(str(stage), size_guidance={"scalars": 0})
    events.Reload()
    assert set(events.Tags()["scalars"]) == set(TAGS) | set(between), events.Tags()
    wants = {tag: {s["step"]: s.get(name, 0) for s in steps} for tag, name in TAGS.items()} | between
    for tag, want in wants.items():
        got = {e.step: e.value for e in events.Scalars(tag)}
        assert got.keys() == want.keys(), f"{stage}: {tag} has {len(got)} steps, metrics.jsonl {len(want)}"
        for k, v in want.items():
            assert abs(got[k] - v) <= 1e-6 * max(1, abs(v)), f"{stage}: {tag} at step {k} is {got[k]}, not {v}"
    print(f"{stage.name}: {len(steps)} steps, {len(wants)} tags read by TensorBoard")

state = json.load(open(Path(sys.argv[1]) / "state.json"))
for name, block in state["blocks"].items():
    if not name.startswith("evaluate.perplexity."):
        continue
    folders = [p.parent for p in Path(sys.argv[1]).glob("blocks/evaluate.perplexity.*/events.out.tfevents.*")]
    found = [e.Scalars("eval/loss")[0].value for e in (EventAccumulator(str(f)).Reload() for f in folders)]
    assert any(abs(v - block["values"]["loss"]) < 1e-5 for v in found), (name, found)
    print(f"{name}: eval/loss read by TensorBoard")
