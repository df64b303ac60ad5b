"""Runs the quickstart, shortened, and compares what each tracker has of it with metrics.jsonl."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

import numpy

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPFLOW = ROOT / "bin/stepflow"
STAGES = ["stage.seed", "stage.middle", "stage.final"]
BIN = pathlib.Path(sys.executable).parent

# Tags, and the fields of metrics.jsonl that they show.
TAGS = {
    "train/loss": "loss",
    "train/learning_rate": "learning_rate",
    "train/grad_norm": "grad_norm",
    "train/epoch": "epoch",
    "train/num_input_tokens_seen": "tokens",
    "train/tokens_per_second": "tokens_per_second",
    "train/mfu": "mfu",
}
MEASURED = {"train/tokens_per_second", "train/mfu"}  # differ where steps were trained twice

began = time.time()


def say(text):
    print(f"{time.time() - began:5.0f} s  {text}", flush=True)


def steps(state, stage):
    lines = [json.loads(line) for line in (state / "blocks" / stage / "metrics.jsonl").open()]
    return [x for x in lines if "evaluation" not in x]


def want(state, stage, tag):
    return {s["step"]: s.get(TAGS[tag], 0) for s in steps(state, stage)}


def equal(what, got, wanted):
    """Wants each step once, and the same numbers."""
    assert [s for s, _ in got] == list(wanted), f"{what}: steps {[s for s, _ in got]}, want {list(wanted)}"
    for step, value in got:
        assert value == wanted[step], f"{what}: step {step} is {value}, want {wanted[step]}"
    assert got, what


class Server:
    """An MLflow server on a database that outlives it."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = (folder / "mlflow.log").open("w")
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [BIN / "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
            + ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--default-artifact-root", str(self.folder)],
            stdout=self.log, stderr=self.log, start_new_session=True)  # it has children
        for _ in range(240):
            try:
                urllib.request.urlopen(self.url + "/health", timeout=5)
                return
            except OSError:
                time.sleep(0.5)
        raise SystemExit("mlflow server did not start: " + (self.folder / "mlflow.log").read_text()[-2000:])

    def stop(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def apply(folder, state, *flags, **env):
    return subprocess.Popen([STEPFLOW, "apply", "-auto-approve", "-var", "tokens=2e5", "-state-dir", state, *flags, folder],
                            env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(path, text, process):
    while not (path.exists() and text in path.read_text()):
        assert process.poll() is None, f"the run ended before {path} had {text}: {process.communicate()}"
        time.sleep(0.05)


def history(client, run, tag):
    return [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, tag)]


def mlflow_runs(server):
    import mlflow

    client = mlflow.MlflowClient(server.url)
    experiment = client.get_experiment_by_name("quickstart")
    return client, {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}


def check_mlflow(folder, tmp):
    """Runs with a server that dies twice and a run that is killed once. Then all is there, once."""
    server = Server(tmp)
    say("mlflow server is up")
    state = tmp / "state"
    env = {"MLFLOW_TRACKING_URI": server.url}
    try:
        run = apply(folder, state, **env)
        until(state / "blocks/stage.middle/metrics.jsonl", '"step":30,', run)
        run.kill()
        run.communicate()
        say("killed in its second stage")

        run = apply(folder, state, **env)
        until(state / "blocks/stage.middle/metrics.jsonl", '"step":45,', run)
        server.stop()
        out, err = run.communicate()
        assert run.returncode == 0 and "Apply complete" in out, out + err
        assert re.search(r"Warning: MLflow at .* [0-9]+ steps of the run are not there", err), err
        say("the server was killed, and the run went on: " + err.strip().splitlines()[-1])

        server.start()
        run = apply(folder, state, **env)
        out, err = run.communicate()
        assert run.returncode == 0 and "0 to run" in out and not err, out + err
        page = re.search(r"^MLflow: (.*)$", out, re.M).group(1)
        say("an apply with nothing to run sent the rest: " + page)

        client, runs = mlflow_runs(server)
        assert set(runs) == {"quickstart", *STAGES}, runs
        parent = runs["quickstart"]
        assert page.endswith(parent.info.run_id)
        outputs = json.loads(subprocess.check_output([STEPFLOW, "output", "-json", "-state-dir", state]))
        assert parent.data.metrics == {k: v["value"] for k, v in outputs.items()}, parent.data.metrics
        assert parent.data.params == {"tokens": "200000", "precision": "fp32"}, parent.data.params
        for name in STAGES:
            r = runs[name]
            assert r.info.status == parent.info.status == "FINISHED", r.info
            assert r.data.tags["mlflow.parentRunId"] == parent.info.run_id
            for k, v in {"train.batch_size": "8", "optimizer.learning_rate": "0.002", "model.vocab_size": "2048",
                         "data.min_int_score": "3"}.items():
                assert r.data.params[k] == v, (name, k, r.data.params)
            for tag in TAGS:
                got, wanted = history(client, r, tag), want(state, name, tag)
                if tag in MEASURED:
                    wanted = {s: v if s in wanted else None for s, v in got}
                equal(f"MLflow: {name} {tag}", got, wanted)
        values = json.loads((state / "state.json").read_text())["blocks"]["evaluate.perplexity.step"]["values"]
        got = {k.removeprefix("evaluate.perplexity.step/"): v for k, v in runs["stage.final"].data.metrics.items()
               if k.startswith("evaluate.")}
        assert got == values, (got, values)
        say("MLflow has every step of metrics.jsonl once, with the same numbers")

        # A run that nothing happens to: times and measured rates are those of the file too.
        quiet = tmp / "quiet"
        run = apply(folder, quiet, "-target", "stage.seed", MLFLOW_EXPERIMENT_NAME="quiet", **env)
        out, err = run.communicate()
        assert run.returncode == 0 and "MLflow at" not in err, out + err
        import mlflow

        client = mlflow.MlflowClient(server.url)
        found = client.search_runs([client.get_experiment_by_name("quiet").experiment_id], "tags.`stepflow.address` = 'stage.seed'")
        for tag in TAGS:
            equal("MLflow: " + tag, history(client, found[0], tag), want(quiet, "stage.seed", tag))
        times = [m.timestamp for m in client.get_metric_history(found[0].info.run_id, "train/loss")]
        assert times == [s["time_unix_ms"] for s in steps(quiet, "stage.seed")]
        say("and of a quiet run the same times")
    finally:
        server.stop()
    return state


def check_tensorboard(state):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for name in STAGES:
        a = EventAccumulator(str(state / "blocks" / name), size_guidance={"scalars": 0})
        a.Reload()
        for tag in TAGS:
            got = [(e.step, e.value) for e in a.Scalars(tag)]
            equal(f"TensorBoard: {name} {tag}", got, {s: float(numpy.float32(v)) for s, v in want(state, name, tag).items()})
    say("TensorBoard reads every step of metrics.jsonl")


def trackio_values(project, run, metric):
    from trackio.sqlite_storage import SQLiteStorage

    return [(v["step"], v["value"]) for v in SQLiteStorage.get_metric_values(project, run, metric)]


def check_trackio(state):
    import trackio

    trackio.import_tf_events(str(state / "blocks"), project="imported")
    for name in STAGES:
        for tag in TAGS:
            wanted = {s: float(numpy.float32(v)) for s, v in want(state, name, tag).items()}
            got = set(trackio_values("imported", name, tag))
            if tag in MEASURED:  # the import has steps twice that were trained again after a kill
                got &= set(wanted.items())
            equal(f"trackio: {name} {tag}", sorted(got), wanted)
    say("trackio imports every step of metrics.jsonl")


def script():
    """The script of docs/trackers.md."""
    text = (ROOT / "docs/trackers.md").read_text()
    return re.search(r"^```python\n(.*?)^```$", text, re.M | re.S).group(1)


def wandb_records(path):
    """Reads the records of a .wandb file: LevelDB's log format, after a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = path.read_bytes(), 7, b""
    while at < len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        whole += data[at + 7:at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # full, last
            yield Record.FromString(whole)
            whole = b""


def check_script(state, tmp):
    """Runs the script of the docs with trackio, and with wandb offline."""
    (tmp / "trackio.py.d").mkdir()
    for module in ("wandb", "trackio"):
        path = tmp / "trackio.py.d" / f"send_{module}.py"
        path.write_text(script().replace("import wandb  # or: import trackio as wandb", f"import {module} as wandb"))
        subprocess.run([sys.executable, path, state, "sent"], check=True, cwd=tmp, stdout=subprocess.DEVNULL,
                       env={**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"})
    for name in STAGES:
        equal(f"trackio: {name}", trackio_values("sent", name, "train/loss"), want(state, name, "train/loss"))
    seen = set()
    for path in (tmp / "wandb").glob("offline-run-*/*.wandb"):
        name, got = "", []
        for r in wandb_records(path):
            if r.WhichOneof("record_type") == "run":
                name = r.run.display_name
                config = {c.key: json.loads(c.value_json) for c in r.run.config.update}
                assert config["train.batch_size"] == "8", config
            elif r.WhichOneof("record_type") == "history":
                row = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in r.history.item}
                got.append((row["_step"], row["train/loss"]))
        equal(f"W&B: {name}", got, want(state, name, "train/loss"))
        seen.add(name)
    assert seen == set(STAGES), seen
    say("the script of docs/trackers.md sends every step to trackio and, offline, to W&B")


def main():
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    with tempfile.TemporaryDirectory() as name:
        tmp = pathlib.Path(name)
        os.environ["TRACKIO_DIR"] = str(tmp / "trackio")
        folder = tmp / "quickstart"
        folder.mkdir()
        text = (ROOT / "pipelines/quickstart/main.hcl").read_text()
        (folder / "main.hcl").write_text(re.sub(r"every_steps = \d+", "every_steps = 20", text))
        subprocess.run([STEPFLOW, "sample", "go-docs", "-o", folder / "data"], check=True, stdout=subprocess.DEVNULL)
        state = check_mlflow(folder, tmp)
        check_tensorboard(state)
        check_trackio(state)
        check_script(state, tmp)


if __name__ == "__main__":
    main()
