"""Times the step of main.hcl on one process and on two ranks, and PyTorch's DDP and FSDP2 on two ranks, in turns.

python3 bench/ranks/compare.py [ROUNDS]: wants bin/stepflow, mpirun, and the packages torch and transformers.
"""

import glob
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
STEPFLOW = os.path.join(HERE, "..", "..", "bin", "stepflow")
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 2


def peak(name, stop, result):
    """The highest resident size, in MiB, that a process with this name in its command line reaches."""
    while not stop.is_set():
        for path in glob.glob("/proc/[0-9]*/status"):
            try:
                with open(path.replace("status", "cmdline")) as f:
                    words = f.read().split("\0")
                if name not in words or os.path.basename(words[0]) in ("mpirun", "torchrun"):
                    continue
                with open(path) as f:
                    size = next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))
            except (OSError, StopIteration):
                continue
            result[0] = max(result[0], size >> 10)
        time.sleep(0.2)


def watched(name, *args, **options):
    stop, result = threading.Event(), [0]
    thread = threading.Thread(target=peak, args=(name, stop, result))
    thread.start()
    try:
        return subprocess.run(args, check=True, capture_output=True, text=True, **options).stdout, result[0]
    except subprocess.CalledProcessError as e:
        sys.exit(f"{' '.join(args)}:\n{e.stdout}{e.stderr}")
    finally:
        stop.set()
        thread.join()


def stepflow(shard, *flags):
    with tempfile.TemporaryDirectory() as state:
        _, size = watched(state, STEPFLOW, "apply", "-auto-approve", "-state-dir", state, *flags, HERE,
                          env={**os.environ, "STEPFLOW_VAR_shard": shard})
        [path] = glob.glob(os.path.join(state, "**", "metrics.jsonl"), recursive=True)
        with open(path) as f:
            steps = [json.loads(line) for line in f]
    return [s["tokens_per_second"] for s in steps], size


def torch(kind):
    script = os.path.join(HERE, "ddp.py")
    out, size = watched(script, os.path.join(os.path.dirname(sys.executable), "torchrun"), "--nproc-per-node", "2", script, kind,
                        env={**os.environ, "OMP_NUM_THREADS": "1"})
    return [float(x) for x in out.split()], size


RUNS = {
    "one process, 2 threads": lambda: stepflow("none", "-threads", "2"),
    'two ranks, shard = "none"': lambda: stepflow("none", "-ranks", "2"),
    'two ranks, shard = "optimizer"': lambda: stepflow("optimizer", "-ranks", "2"),
    'two ranks, shard = "gradients"': lambda: stepflow("gradients", "-ranks", "2"),
    "PyTorch, DDP": lambda: torch("ddp"),
    "PyTorch, FSDP2": lambda: torch("fsdp"),
}
rates, sizes = {name: [] for name in RUNS}, {}
for _ in range(ROUNDS):
    for name, run in RUNS.items():
        steps, size = run()
        rates[name] += steps[2:]  # the first two warm up
        sizes[name] = max(size, sizes.get(name, 0))
first = None
print("| | tokens/s, median | of the first | resident, MiB a process |\n|---|---|---|---|")
for name, list in rates.items():
    median = sorted(list)[len(list) // 2]
    first = first or median
    print(f"| {name} | {median:,.0f} | {median / first:.2f} | {sizes[name]:,} |")
