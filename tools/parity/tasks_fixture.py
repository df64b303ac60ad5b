"""Downstream tasks by lm-evaluation-harness: tasks_fixture.py [-real FOLDER] [-limit N] [-models] OUT MODEL...

Writes OUT/data, small data sets in the schema of each task, OUT/random.json, what Python's random draws, and for each
MODEL, a Hugging Face folder, OUT/NAME.json: what lm_eval's HFLM makes of every document. OUT/own/*.yaml are tasks of which
the harness and stepflow read the same file. tasks/testdata/lm_eval is the fixture of the tests, by stories260K.

With -real the data are those of HellaSwag, PIQA, ARC-Easy and LAMBADA, from the files that llm-foundry and llama.cpp have of them, in
the schema of the hub. With -limit only so many documents of each are measured, and -models copies the models to OUT/models.
"""
import argparse
import bz2
import hashlib
import json
import math
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", LMEVAL_LOG_LEVEL="ERROR",
                  HF_HOME=tempfile.mkdtemp(), CUDA_VISIBLE_DEVICES="")

WORDS = """the a little girl boy dog cat was very happy and went to park with mom dad saw big red ball they played all day but
then it rained so ran home One day Lily Tom said "I don't know" "Yes!" smiled He she's tree's can't naïve café 三 只 猫 🙂 Größe
über ñandú — … 12 3.5 $7""".split()
SUBJECTS = ["anatomy", "astronomy", "econometrics", "virology", "world_religions"]


class Data:
    """Rows of every schema, with odd spaces, quotes, and texts that are longer than a small model."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def text(self, least, most):
        r = self.r
        s = ""
        for _ in range(r.randrange(least, most)):
            s += r.choice(WORDS) + r.choice([" "] * 12 + ["  ", ", ", ". ", "\n", " [title] ", "\u00a0"])
        return s if r.random() < 0.1 else s.strip()

    def question(self):
        return self.text(3, 14) if self.r.random() < 0.85 else self.text(150, 400)

    def choices(self, n):
        out = [self.text(1, 7) or "x" for _ in range(n)]
        if self.r.random() < 0.1:
            out[-1] = out[0]
        return out

    def arc(self):
        n = self.r.choice([4, 4, 3, 5])
        label = self.r.choice(["ABCDE", "12345"])[:n]
        return {"question": self.question(), "choices": {"text": self.choices(n), "label": list(label)}, "answerKey": self.r.choice(label)}

    def row(self, task, i):
        r = self.r
        if task == "hellaswag":
            return {"ind": i, "activity_label": self.text(1, 3), "ctx_a": self.text(3, 20), "ctx_b": r.choice(["", self.text(1, 4), "É tude"]),
                    "ctx": "", "endings": [x + r.choice(["", " [x] y", " [title] z", "  "]) for x in self.choices(4)], "label": str(r.randrange(4))}
        if task == "piqa":
            return {"goal": self.question(), "sol1": self.text(1, 9), "sol2": self.text(1, 9), "label": r.randrange(2)}
        if task.startswith("arc"):
            return {"id": str(i), **self.arc()}
        if task == "winogrande":
            return {"sentence": self.text(2, 9) + " _ " + self.text(1, 7) + ".", "option1": "Lily", "option2": r.choice(["Tom", "the café"]), "answer": r.choice("12")}
        if task == "openbookqa":
            row = self.arc()
            return {"id": str(i), "question_stem": row["question"], "choices": row["choices"], "answerKey": row["answerKey"] if r.random() < 0.8 else " " + row["answerKey"]}
        if task == "lambada_openai":
            return {"text": (self.question().strip() or "x") + " " + r.choice(["Lily", "park", "猫", "said."])}
        if task == "boolq":
            return {"question": self.text(3, 8), "passage": self.question(), "idx": i, "label": r.randrange(2)}
        if task == "sciq":
            return {"question": self.text(3, 9), "distractor1": self.text(1, 3), "distractor2": self.text(1, 3), "distractor3": self.text(1, 3),
                    "correct_answer": self.text(1, 3), "support": r.choice(["", " \n" + self.question(), self.question()])}
        if task.startswith("mmlu"):
            return {"question": r.choice(["", " "]) + self.question() + r.choice(["", "\n"]), "subject": task[5:], "choices": self.choices(4), "answer": r.randrange(4)}
        if task == "gsm8k":
            n = r.randrange(2000)
            return {"question": self.text(5, 20), "answer": f"{self.text(3, 12)}\n#### {n:,}"}
        if task == "wikitext":
            return {"page": f" = {self.text(1, 3)} = \n \n " + self.text(20, 600) + " ( some thing ) , \" quoted \" @-@ 1 @,@ 000 's 5 ° N . \n"}
        return {"topic": r.choice(["dogs", "cats"]), "question": self.question() or "?", "options": self.choices(3), "gold": r.randrange(3),
                "all_gold": sorted(r.sample(range(3), r.randrange(1, 3)))}


SPLITS = {"hellaswag": ("train", "validation"), "piqa": ("train", "validation"), "arc_easy": ("train", "test"), "arc_challenge": ("train", "test"),
          "winogrande": ("train", "validation"), "openbookqa": ("train", "test"), "lambada_openai": (None, "test"), "boolq": ("train", "validation"),
          "sciq": ("train", "test"), "gsm8k": ("train", "test"), "wikitext": (None, "test"), "own": ("train", "test"),
          **{"mmlu_" + s: ("dev", "test") for s in SUBJECTS}}


def write_data(out, count):
    data = Data(20)
    for task, (few, test) in SPLITS.items():
        folder = out / "data" / task
        folder.mkdir(parents=True, exist_ok=True)
        for split, n in ((few, 40 if task in ("piqa", "own") else 8), (test, count)):
            if split:
                n += len(task) % 3 if split == test else 0
                (folder / f"{split}.jsonl").write_text("".join(json.dumps(data.row(task, i), ensure_ascii=False) + "\n" for i in range(n)))


def overridden(task, **more):
    few, test = SPLITS[task]
    files = {test: f"data/{task}/{test}.jsonl"} | ({few: f"data/{task}/{few}.jsonl"} if few else {})
    o = {"task": task, "dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}, **more}
    for key, split in (("training_split", "train"), ("validation_split", "validation"), ("test_split", "test")):
        o[key] = split if split in files else None
    return o


def write_real(out, folder):
    """The sets in the hub's schema. What other forms add is taken away again; HellaSwag's text is already cleaned, which changes nothing."""
    def write(task, split, rows):
        path = out / "data" / task / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))

    def lines(name):
        return [json.loads(line) for line in (folder / name).read_text().splitlines()]

    def question(row):
        assert row["query"].startswith("Question: ")
        return row["query"][len("Question: "):].removesuffix("\n")

    write("piqa", "validation", [{"goal": question(r), "sol1": r["choices"][0], "sol2": r["choices"][1], "label": r["gold"]} for r in lines("piqa.jsonl")])
    write("arc_easy", "test", [{"question": question(r), "choices": {"text": r["choices"], "label": list("ABCDE"[:len(r["choices"])])}, "answerKey": "ABCDE"[r["gold"]]}
                               for r in lines("arc_easy.jsonl")])
    write("lambada_openai", "test", [{"text": r["context"] + " " + r["continuation"]} for r in lines("lambada_openai.jsonl")])
    text = bz2.decompress((folder / "hellaswag_val_full.txt.bz2").read_bytes()).decode().split("\n")
    rows = []
    for i in range(0, len(text) - 5, 6):
        activity, _, context = text[i].partition(": ")
        rows.append({"activity_label": activity, "ctx_a": context, "ctx_b": "", "endings": text[i + 2:i + 6], "label": text[i + 1].strip()})
    write("hellaswag", "validation", rows)


def real_runs():
    for task in ("hellaswag", "piqa", "arc_easy", "lambada_openai"):
        o = overridden(task)
        o["dataset_kwargs"]["data_files"].pop("train", None)
        o["training_split"] = None
        yield f"runs/only_{task}.yaml", 0, o


def runs():
    for task in SPLITS:
        if task.startswith("mmlu") or task in ("own", "gsm8k"):
            continue
        for shots in (0,) if task == "wikitext" else (0, 2):
            yield f"runs/only_{task}.yaml", shots, overridden(task)
    yield "runs/only_piqa.yaml", 6, overridden("piqa")
    group = {"group": "mmlu_small", "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}],
             "task": [overridden("mmlu_" + s, fewshot_split="dev") for s in SUBJECTS]}
    yield "runs/mmlu_small.yaml", 0, group
    yield "runs/mmlu_small.yaml", 3, group
    yield "runs/only_gsm8k.yaml", None, overridden("gsm8k", num_fewshot=2, generation_kwargs={"until": ["Question:", "</s>"], "max_gen_toks": 12, "do_sample": False})
    for f in sorted(Path("own").glob("*.yaml")):
        yield "own/" + f.name, None, str(f)
    yield "own/choices.yaml", 3, "own/choices.yaml"
    yield "own/several.yaml", 2, "own/several.yaml"


def write_run(task):
    """A file of a group: only in one does the harness lay keys over those of a task that it has."""
    import yaml
    if "group" not in task:
        task = {"group": "only_" + task["task"], "task": [task]}
    path = Path("runs") / (task["group"] + ".yaml")
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(task, sort_keys=False))
    return task["group"]


def digest(*texts):
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def samples(results, name):
    out = {}
    for s in results["samples"][name]:
        row = out.setdefault(s["doc_id"], {"requests": [], "answers": [], "metrics": {}})
        args, resps = s["arguments"], s["resps"]
        row["requests"] = [digest(a[0], a[1] if len(a) > 1 and isinstance(a[1], str) else "") for a in args]
        if isinstance(resps[0][0], str):
            row["texts"] = resps[0]
            row.setdefault("filtered", {})[s["filter"]] = s["filtered_resps"][0]
        else:
            row["answers"] = [r[0] if isinstance(r[0], (list, tuple)) else [r[0], False] for r in resps]
        for m in s["metrics"]:
            v = s[m]
            if isinstance(v, (int, float)):
                row["metrics"][f"{m},{s['filter']}"] = v
    for row in out.values():
        if not row["answers"]:
            del row["answers"]
    return [out[k] for k in sorted(out)]


def evaluate(folder, runs, limit=None):
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    import torch
    torch.set_num_threads(1)
    lm = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=8)
    from lm_eval.tasks import TaskManager
    runs = list(runs)
    for _, _, task in runs:
        if isinstance(task, dict):
            write_run(task)
    manager = TaskManager(include_path="runs")
    out = []
    for name, shots, task in runs:
        if isinstance(task, dict):
            task = write_run(task)
        results = lm_eval.simple_evaluate(model=lm, tasks=[task], num_fewshot=shots, task_manager=manager, limit=limit)
        run = {"task": name, "num_fewshot": shots, "limit": limit or 0, "results": {}, "samples": {}}
        for t, r in results["results"].items():
            run["results"][t] = {k: v for k, v in r.items() if isinstance(v, float) and not math.isnan(v)}
        for t in results["samples"]:
            run["samples"][t] = samples(results, t)
        out.append(run)
        print(name, shots, {t: len(s) for t, s in run["samples"].items()}, file=sys.stderr)
    return out


def hugging_face(folder, tmp):
    """The folder with the tokenizer_config.json that stepflow's export writes, where it has none."""
    folder = Path(folder)
    if (folder / "tokenizer_config.json").exists():
        return folder
    copy = Path(tmp) / folder.name
    shutil.copytree(folder, copy)
    os.chmod(copy, 0o755)
    (copy / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
                                                            "clean_up_tokenization_spaces": False}))
    return copy


def random_numbers():
    out = []
    for seed in (0, 1, 1234, 2**31, 2**40 + 7):
        for n, k in ((5, 3), (21, 5), (22, 5), (40, 6), (1000, 6), (100000, 30)):
            r = random.Random(seed)
            out.append({"Seed": seed, "Floats": [r.random() for _ in range(3)], "N": n, "K": k, "Samples": [r.sample(range(n), k) for _ in range(3)]})
    return out


def main():
    args = argparse.ArgumentParser()
    args.add_argument("-real", type=Path)
    args.add_argument("-limit", type=int)
    args.add_argument("-models", action="store_true")
    args.add_argument("out", type=Path)
    args.add_argument("models_", nargs="+", type=Path)
    a = args.parse_args()
    out, models, real = a.out.resolve(), [m.resolve() for m in a.models_], a.real and a.real.resolve()
    here = Path(__file__).resolve().parents[2] / "tasks" / "testdata" / "lm_eval"
    out.mkdir(parents=True, exist_ok=True)
    if real:
        write_real(out, real)
    else:
        write_data(out, int(os.environ.get("DOCUMENTS", "8")))
        (out / "random.json").write_text(json.dumps(random_numbers()))
        if out != here:
            shutil.copytree(here / "own", out / "own", dirs_exist_ok=True)
    os.chdir(out)
    with tempfile.TemporaryDirectory() as tmp:
        for m in models:
            folder = hugging_face(m, tmp)
            done = evaluate(folder, real_runs() if real else runs(), a.limit)
            Path(f"{m.name}.json").write_text("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in done) + "\n]\n")
            if a.models:
                shutil.copytree(folder, Path("models") / m.name)


if __name__ == "__main__":
    main()
