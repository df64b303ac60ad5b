"""The whole method a second time, in PyTorch: staged growth, frozen layers, LoRA and ReLoRA, AdamW and Muon.

Written from the formulas in docs/ and the papers, in float64. `make DIR` writes small pipelines with first weights and documents;
the test TestOracle of package runtime runs them and leaves what an oracle cannot know: the packed batches, the first values of
adapters, the seeds of stochastic rounding; `compare DIR` trains the same models and compares the loss of every step to 1e-4.

For bf16 what is rounded there is rounded here: what a projection, a norm, a rotation, an activation and an attention give, the
gradients of those, the gradient of the logits, sums of gradients, a part at a time where they are added up in bf16, weights after
an update of their fp32 masters, and merges. A projection that is added to the residual is rounded with it, unless an adapter comes
between. Attention's gradient reads its rounded result (Dao et al. 2022, algorithm 4). Sums in between are exact.

Sums in another order round a few values the other way, and each moves all that comes after it: the losses of two runs in bf16 part
by 5e-4 within three steps, whoever computes them. So there each step begins where the run's did, at the checkpoint before, and what
it makes of the weights is compared with the next one: the difference may be 5 % of the change, and 10 % with Muon.
"""

import json
import math
import random
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file, load_file

from muon_fixture import NS, ratio

TOLERANCE = 1e-4
APART = 0.05
MUON_APART = 0.1  # five iterations raise small singular values, and what rounding to bf16 makes of them, by up to 3.4445^5
D = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, vocab_size=320,
         max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0)
HEAD = D["hidden_size"] // D["num_attention_heads"]
SEQ, BATCH = 24, 12
ADAM = dict(b1=0.9, b2=0.95, wd=0.1, clip=1.0)
# A rounded gradient near 0 has a sign of its own, and with a small epsilon the first updates are little else: for bf16 it is larger.
RATES = {"fp32": dict(lr=3e-3, eps=1e-8), "bf16": dict(lr=1e-3, eps=1e-3)}
MUON = dict(lr=0.02, momentum=0.95, wd=0.1, steps=5, eps=1e-7, adjust="original")
LINEAR = {"self_attn.q_proj": (32, 32), "self_attn.k_proj": (16, 32), "self_attn.v_proj": (16, 32), "self_attn.o_proj": (32, 32),
          "mlp.gate_proj": (48, 32), "mlp.up_proj": (48, 32), "mlp.down_proj": (32, 48)}
NORMS = ("input_layernorm", "post_attention_layernorm")
LORA = dict(type="lora", r=3, alpha=6.0)
RELORA = dict(type="relora", r=4, alpha=8.0, reset=3, warmup=1)


def stage(steps, freeze=(), adapter=None, grow=None, position="upper", mix=0.5, preserving=True, micro=2, accumulate="auto", schedule="cosine", warmup=0.25, muon=False):
    return dict(steps=steps, freeze=list(freeze), adapter=adapter, grow=grow, position=position, mix=mix, preserving=preserving, micro=micro,
                accumulate=accumulate, schedule=schedule, warmup=warmup, muon=muon)


def cases():
    """Three stages each: a small model, grown by interpolated layers beside frozen ones with LoRA, grown again with ReLoRA."""
    frozen = [stage(8), stage(8, ["inherited"], LORA, grow=1), stage(10, ["inherited"], RELORA, grow=2, position="lower")]
    # Embeddings rest in the second stage and begin again in the third; layers that go on training carry their moments.
    carried = [stage(6), stage(7, ["embeddings", "layers:0-0"], LORA, grow=1, mix=0.3, preserving=False, schedule="constant"),
               stage(9, ["layers:0-1"], RELORA, grow=1, position="even", preserving=False, micro=3)]
    for precision in ("fp32", "bf16"):
        for tied in (False, True):
            for mask in (False, True):
                yield f"{precision}-{'tied' if tied else 'untied'}-{'masked' if mask else 'open'}", dict(precision=precision, tied=tied, mask=mask, stages=frozen)
        yield f"{precision}-carried", dict(precision=precision, tied=False, mask=True, stages=carried)
        yield f"{precision}-carried-tied", dict(precision=precision, tied=True, mask=False, stages=carried)
    for name, precision, stages in ("frozen", "fp32", frozen), ("carried", "fp32", carried), ("carried", "bf16", carried):
        stages = [dict(s, muon=True) for s in stages]
        yield f"{precision}-muon-{name}", dict(precision=precision, tied=False, mask=True, stages=stages)
    changing = [dict(s, muon=i == 1) for i, s in enumerate(carried)]
    yield "fp32-muon-between", dict(precision="fp32", tied=True, mask=True, stages=changing)
    wide = [dict(s, accumulate="fp32", micro=1) for s in frozen]
    yield "bf16-wide-gradients", dict(precision="bf16", tied=True, mask=True, stages=wide)
    kept = [dict(s, adapter=dict(s["adapter"], rounding="remainder") if s["adapter"] and s["adapter"]["type"] == "relora" else s["adapter"]) for s in frozen]
    yield "bf16-remainders", dict(precision="bf16", tied=False, mask=True, stages=kept)


# ---- pipelines

def hcl(case):
    b, o = json.dumps, RATES[case["precision"]]
    text = f"""
data "jsonl" "d" {{
  source        = "d.jsonl"
  seed          = 3
  document_mask = {b(case["mask"])}
}}
tokenizer "bpe" "t" {{
  train_on   = data.jsonl.d
  vocab_size = 300
}}
model "llama" "m" {{ from = "init" }}
optimizer "adamw" "o" {{
  learning_rate = {o["lr"]}
  betas         = [{ADAM["b1"]}, {ADAM["b2"]}]
  eps           = {o["eps"]}
  weight_decay  = {ADAM["wd"]}
  max_grad_norm = {ADAM["clip"]}
}}
"""
    if any(s["muon"] for s in case["stages"]):
        text += f"""optimizer "muon" "o" {{
  learning_rate = {MUON["lr"]}
  momentum      = {MUON["momentum"]}
  ns_steps      = {MUON["steps"]}
  adjust_lr_fn  = {b(MUON["adjust"])}
  weight_decay  = {MUON["wd"]}
  max_grad_norm = {ADAM["clip"]}
  others        = optimizer.adamw.o
}}
"""
    for i, s in enumerate(case["stages"]):
        a = s["adapter"]
        if a:
            more = f"""  reset_every          = {a["reset"]}
  restart_warmup_steps = {a["warmup"]}
  merge_rounding       = {b(a.get("rounding", "stochastic"))}
""" if a["type"] == "relora" else ""
            text += f"""peft "{a["type"]}" "s{i}" {{
  r              = {a["r"]}
  lora_alpha     = {a["alpha"]}
  target_modules = ["all-linear"]
{more}}}
"""
        text += f'stage "s{i}" {{\n  precision = {b(case["precision"])}\n'
        text += "  model = model.llama.m\n" if i == 0 else f"  from = stage.s{i-1}\n"
        if s["grow"]:
            text += f"""  grow "interpolation" {{
    layers              = {s["grow"]}
    position            = {b(s["position"])}
    mix                 = {s["mix"]}
    function_preserving = {b(s["preserving"])}
  }}
"""
        if s["freeze"]:
            text += f'  freeze = {b(s["freeze"])}\n'
        if a:
            text += f'  adapter = peft.{a["type"]}.s{i}\n'
        text += f"""  seed = {7 + i}
  train {{
    data             = data.jsonl.d
    tokenizer        = tokenizer.bpe.t
    optimizer        = optimizer.{"muon" if s["muon"] else "adamw"}.o
    sequence_length  = {SEQ}
    batch_size       = {BATCH}
    micro_batch_size = {s["micro"]}
    steps            = {s["steps"]}
"""
        if case["precision"] == "bf16":
            text += f'    accumulate_dtype = {b(s["accumulate"])}\n'
        text += f'    schedule "{s["schedule"]}" {{ warmup_ratio = {s["warmup"]} }}\n'
        if case["precision"] == "bf16":
            text += "    checkpoint {\n      every_steps = 1\n      keep        = 100\n    }\n"
        text += "  }\n}\n"
    return text


def make(root):
    for name, case in cases():
        folder = root / name
        (folder / "init").mkdir(parents=True)
        (folder / "main.hcl").write_text(hcl(case))
        rng = random.Random(5)
        words = [f"{rng.choice('bcdfgklmnprst')}{rng.choice('aeiou')}{rng.choice('bdgklmnrst')}" for _ in range(120)]
        with open(folder / "d.jsonl", "w") as f:
            for i in range(400):
                text = " ".join(words[min(int(rng.expovariate(0.05)), 119)] for _ in range(rng.randint(3, 25)))
                f.write(json.dumps({"id": str(i), "text": text}) + "\n")
        g = torch.Generator().manual_seed(11)
        new = lambda *shape: torch.randn(*shape, generator=g) * 0.08
        w = {"model.embed_tokens.weight": new(D["vocab_size"], 32), "model.norm.weight": 1 + new(32)}
        if not case["tied"]:
            w["lm_head.weight"] = new(D["vocab_size"], 32)
        for l in range(D["num_hidden_layers"]):
            for n, (o, i) in LINEAR.items():
                w[f"model.layers.{l}.{n}.weight"] = new(o, i)
            for n in NORMS:
                w[f"model.layers.{l}.{n}.weight"] = 1 + new(32)
        save_file(w, folder / "init" / "model.safetensors", metadata={"format": "pt"})
        config = dict(D, architectures=["LlamaForCausalLM"], model_type="llama", head_dim=HEAD, hidden_act="silu", tie_word_embeddings=case["tied"],
                      attention_bias=False, mlp_bias=False, torch_dtype="float32", initializer_range=0.08)
        (folder / "init" / "config.json").write_text(json.dumps(config))


# ---- rounding

def bf16(x):
    return x.to(torch.float32).to(torch.bfloat16).to(torch.float64)


class Rounded(torch.autograd.Function):
    """Rounds a value and its gradient."""
    forward = staticmethod(lambda ctx, x: bf16(x))
    backward = staticmethod(lambda ctx, g: bf16(g))


class RoundedGradient(torch.autograd.Function):
    forward = staticmethod(lambda ctx, x: x.clone())
    backward = staticmethod(lambda ctx, g: bf16(g))


class Uses(torch.autograd.Function):
    """A value for each of its uses, in order; their gradients are added up from the last use on, each sum rounded."""

    @staticmethod
    def forward(ctx, x, n):
        return tuple(x.clone() for _ in range(n))

    @staticmethod
    def backward(ctx, *gs):
        s = bf16(gs[-1])
        for g in gs[-2::-1]:
            s = bf16(s + g)
        return s, None


class Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, allowed):
        p = (q @ k.transpose(2, 3) / math.sqrt(HEAD)).masked_fill(~allowed, -math.inf).softmax(-1)
        o = bf16(p @ v)
        ctx.save_for_backward(q, k, v, p, o)
        return o

    @staticmethod
    def backward(ctx, do):
        q, k, v, p, o = ctx.saved_tensors
        ds = p * (do @ v.transpose(2, 3) - (do * o).sum(-1, keepdim=True)) / math.sqrt(HEAD)
        return ds @ k, ds.transpose(2, 3) @ q, p.transpose(2, 3) @ do, None


def stochastic(x, seed):
    """16 bits of splitmix64, drawn by the seed and the number of the element, added to the fp32 value before truncation."""
    bits = x.to(torch.float32).numpy().reshape(-1).view(np.uint32)
    with np.errstate(over="ignore"):
        z = (np.uint64(seed) << np.uint64(40)) + np.arange(bits.size, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
        up = bits + (z >> np.uint64(48)).astype(np.uint32)
    return torch.from_numpy((up & np.uint32(0xFFFF0000)).view(np.float32).reshape(x.shape).astype(np.float64))


def orthogonalize(u, r):
    """The quintic Newton-Schulz iteration of https://kellerjordan.github.io/posts/muon; r rounds each product and sum."""
    a, b, c = NS
    tall = u.shape[0] > u.shape[1]
    x = r((u.T if tall else u) / max(float(u.norm()), MUON["eps"]))
    for _ in range(MUON["steps"]):
        gram = r(x @ x.T)
        x = r(r(a * x) + r(r(b * gram) + c * gram @ gram) @ x)
    return x.T if tall else x


# ---- the method

class Param:
    """A weight as it is used, its fp32 master, and what its optimizer keeps of it."""

    def __init__(self, value, half, decays):
        self.half, self.decays, self.muon = half, decays, False
        self.set(value)
        self.fresh()

    def set(self, value):
        self.master = value.clone()
        self.w = bf16(value) if self.half else value.clone()
        self.remainder = torch.zeros_like(self.w)

    def fresh(self):
        self.m, self.v, self.t = torch.zeros_like(self.w), torch.zeros_like(self.w), 0

    def rest(self):
        """Frozen: only the weight stays."""
        self.master = self.w.clone()
        self.fresh()


def gaps(n, k, position):
    return {"upper": range(n - k, n), "lower": range(k), "even": [(2 * i + 1) * n // (2 * k) for i in range(k)]}[position]


class Oracle:
    def __init__(self, folder, case):
        self.folder, self.case, self.half = folder, case, case["precision"] == "bf16"
        w = {n: v.double() for n, v in load_file(folder / "init" / "model.safetensors").items()}
        self.outer = {n: Param(w[n], self.half, n == "lm_head.weight") for n in w if not n.startswith("model.layers.")}
        self.layers = [{n: Param(w[f"model.layers.{l}.{n}.weight"], self.half, n in LINEAR) for n in (*LINEAR, *NORMS)} for l in range(D["num_hidden_layers"])]
        self.active = {}  # what trained in the last stage
        self.apart = 0.0  # from the run after a step, beside the step's change
        inverse = D["rope_theta"] ** (-torch.arange(0, HEAD, 2).double() / HEAD)
        angle = torch.arange(SEQ).double()[:, None] * inverse
        self.cos, self.sin = (f(angle).float().double()[:, None, :] for f in (torch.cos, torch.sin))

    def r(self, x):
        return Rounded.apply(x) if self.half else x

    def grow(self, s):
        n = len(self.layers)
        chosen, out = set(gaps(n - 1, s["grow"], s["position"])), []
        for i, layer in enumerate(self.layers):
            out.append(layer)
            if i in chosen:
                above, new = self.layers[i + 1], {}
                for name in layer:
                    v = (1 - s["mix"]) * layer[name].w + s["mix"] * above[name].w
                    if s["preserving"] and name in ("self_attn.o_proj", "mlp.down_proj"):
                        v = torch.zeros_like(v)
                    new[name] = Param(v, self.half, name in LINEAR)
                out.append(new)
        inherited = {id(l) for l in self.layers}
        self.layers = out
        return [id(l) in inherited for l in out]

    def frozen(self, s, inherited):
        names = {}
        for l in range(len(self.layers)):
            for word in s["freeze"]:
                if word == "inherited" and inherited[l] or word.startswith("layers:") and l in range(int(word[7:].split("-")[0]), int(word.split("-")[1]) + 1):
                    names.update({(l, n): True for n in self.layers[l]})
        if "embeddings" in s["freeze"]:
            names["model.embed_tokens.weight"] = True
        return names

    def norm(self, x, w):
        if self.half:
            x = RoundedGradient.apply(x)
        return self.r(x * torch.rsqrt((x * x).mean(-1, keepdim=True) + D["rms_norm_eps"]) * w)

    def rope(self, x):
        a, b = x[..., :HEAD // 2], x[..., HEAD // 2:]
        return self.r(torch.cat([a * self.cos - b * self.sin, b * self.cos + a * self.sin], -1))

    def uses(self, x, n):
        return iter(Uses.apply(x, n) if self.half else [x] * n)

    def inputs(self, weights, l, names, x):
        """x for each of the projections that read it: for the weight, then for its adapter."""
        return self.uses(x, len(names) + sum((l, n, "A") in weights for n in names))

    def project(self, weights, l, name, x, plus=None):
        """The projection, its adapter, and the residual: what has no adapter is added to the residual before it is rounded."""
        y = next(x) @ weights[l, name].T
        if (l, name, "A") in weights:
            low = self.r(next(x) @ weights[l, name, "A"].T)
            y = self.r(self.r(y) + self.scale * (low @ weights[l, name, "B"].T))
        return self.r(y if plus is None else plus + y)

    def loss(self, weights, ids, targets, segments):
        """Negative log-likelihoods of [sequences, SEQ] targets, 0 where one is below 0."""
        r, n = self.r, ids.shape[0]
        x = r(weights["model.embed_tokens.weight"][ids])
        allowed = torch.ones(SEQ, SEQ, dtype=torch.bool).tril()[None, None]
        if self.case["mask"]:
            allowed = allowed & (segments[:, None, :, None] == segments[:, None, None, :])
        heads, kv = D["num_attention_heads"], D["num_key_value_heads"]
        for l in range(len(self.layers)):
            x, residual = self.uses(x, 2)
            h = self.inputs(weights, l, list(LINEAR)[:3], self.norm(x, weights[l, "input_layernorm"]))
            q = self.rope(self.project(weights, l, "self_attn.q_proj", h).view(n, SEQ, heads, HEAD))
            k = self.rope(self.project(weights, l, "self_attn.k_proj", h).view(n, SEQ, kv, HEAD))
            v = self.project(weights, l, "self_attn.v_proj", h).view(n, SEQ, kv, HEAD)
            q, k, v = (t.transpose(1, 2) for t in (q, k.repeat_interleave(heads // kv, 2), v.repeat_interleave(heads // kv, 2)))
            if self.half:
                a = Attention.apply(q, k, v, allowed)
            else:
                a = (q @ k.transpose(2, 3) / math.sqrt(HEAD)).masked_fill(~allowed, -math.inf).softmax(-1) @ v
            a = self.inputs(weights, l, ["self_attn.o_proj"], a.transpose(1, 2).reshape(n, SEQ, -1))
            x, residual = self.uses(self.project(weights, l, "self_attn.o_proj", a, plus=residual), 2)
            h = self.inputs(weights, l, ["mlp.gate_proj", "mlp.up_proj"], self.norm(x, weights[l, "post_attention_layernorm"]))
            gate, up = (self.project(weights, l, f"mlp.{m}_proj", h) for m in ("gate", "up"))
            h = self.inputs(weights, l, ["mlp.down_proj"], r(torch.nn.functional.silu(gate) * up))
            x = self.project(weights, l, "mlp.down_proj", h, plus=residual)
        h = self.norm(x, weights["model.norm.weight"])
        logits = h @ weights["lm_head.weight"].T
        if self.half:
            logits = RoundedGradient.apply(logits)
        nll = torch.logsumexp(logits, -1) - logits.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
        return torch.where(targets < 0, 0.0, nll)

    def schedule(self, s, step):
        p, f = step / s["steps"], 1.0
        if p < s["warmup"]:
            f = p / s["warmup"]
        elif s["schedule"] == "cosine":
            f = (1 + math.cos(math.pi * (p - s["warmup"]) / (1 - s["warmup"]))) / 2
        a = s["adapter"]
        if a and a["type"] == "relora" and (done := (step - 1) // a["reset"]) > 0:
            f *= min(1, (step - done * a["reset"]) / a["warmup"])
        return f

    def update(self, p, g, f):
        """An update by the gradient g, where the learning rate is f times its peak. Muon's is with Nesterov momentum."""
        p.t += 1
        if p.muon:
            lr, wd = MUON["lr"] * f, MUON["wd"]
            p.m = MUON["momentum"] * p.m + (1 - MUON["momentum"]) * g
            u = MUON["momentum"] * p.m + (1 - MUON["momentum"]) * g
            up = ratio(MUON["adjust"], *g.shape) * orthogonalize(u, bf16 if self.half else lambda x: x)
        else:
            o, wd = RATES[self.case["precision"]], ADAM["wd"] if p.decays else 0
            lr = o["lr"] * f
            p.m = ADAM["b1"] * p.m + (1 - ADAM["b1"]) * g
            p.v = ADAM["b2"] * p.v + (1 - ADAM["b2"]) * g * g
            up = (p.m / (1 - ADAM["b1"] ** p.t)) / ((p.v / (1 - ADAM["b2"] ** p.t)).sqrt() + o["eps"])
        p.master = p.master - lr * wd * p.master - lr * up
        p.w = bf16(p.master) if self.half else p.master.clone()

    def merge(self, adapters, seeds, rounding):
        for i, (l, name) in enumerate(self.places):
            p, a, b = self.layers[l][name], adapters[l, name, "A"], adapters[l, name, "B"]
            new = p.w + self.scale * (b.master @ a.master)
            if not self.half:
                p.set(new)
            elif rounding == "remainder":
                new = new + p.remainder
                p.set(new)
                p.remainder = bf16(new - p.w)
            else:
                p.set(stochastic(new, seeds[i]))

    def start(self, adapters, values):
        for i, at in enumerate(self.places):
            adapters[(*at, "A")].set(values[i])
            adapters[(*at, "B")].set(torch.zeros_like(adapters[(*at, "B")].w))
            adapters[(*at, "A")].fresh()
            adapters[(*at, "B")].fresh()

    def load(self, number, step, params, adapters):
        """Takes over the state of the run: weights, masters, moments, remainders. What the last step made of them is compared first."""
        folder = self.folder / ".stepflow" / "blocks" / f"stage.s{number}" / f"step-{step:08}"
        ids = json.loads((folder / "trainer_state.json").read_text())["layers"]
        model, kept = (load_file(folder / f"{n}.safetensors") for n in ("model", "optimizer"))
        lora = load_file(folder / "adapter_model.safetensors") if adapters else {}
        apart = change = 0.0
        for k, p in [*params.items(), *adapters.items()]:
            name = key = k
            if k in adapters:
                name, key = (f"{at}/{k[1]}.lora_{k[2]}.weight" for at in (f"layers.{k[0]}", ids[k[0]]))
                name = "base_model.model.model." + name.replace("/", ".")
            elif isinstance(k, tuple):
                name, key = f"model.layers.{k[0]}.{k[1]}.weight", f"{ids[k[0]]}/{k[1]}.weight"
            mine, before = p.master, p.before
            moments = ("muon_m/",) if p.muon else ("adam_m/", "adam_v/")
            trains = moments[0] + key in kept
            if not trains:  # frozen: what it holds, with what waits for the next merge
                mine = p.w + (p.remainder if "remainder/" + key in kept else 0)
            p.w = p.master = (lora if k in adapters else model)[name].double()
            if trains:
                p.m, p.v = (kept[what + key].double() for what in (moments[0], moments[-1]))
                p.master = kept["master/" + key].double()
            if "remainder/" + key in kept:
                p.remainder = kept["remainder/" + key].double()
            run = p.master + p.remainder if "remainder/" + key in kept else p.master
            apart += float(((run - mine) ** 2).sum())
            change += float(((run - before) ** 2).sum())
        if apart:
            self.apart = max(self.apart, math.sqrt(apart / change) if change else math.inf)

    def backpropagate(self, s, params, train, batch):
        """The loss of a batch and its gradients, added up a micro-batch at a time."""
        ids, targets, segments = (torch.from_numpy(x).long() for x in batch)
        valid, total = int((targets >= 0).sum()), 0.0
        grads = {k: torch.zeros_like(p.w) for k, p in train.items()}
        narrow = self.half and s["accumulate"] != "fp32"
        for i in range(0, BATCH, s["micro"]):
            leaves = {k: p.w.clone().requires_grad_() for k, p in train.items()}
            weights = {**{k: p.w for k, p in params.items()}, **leaves}
            tables = [weights["model.embed_tokens.weight"]]
            if self.case["tied"]:  # the head's part of the gradient comes first
                tables = [t.detach().clone().requires_grad_(t.requires_grad) for t in 2 * tables]
                weights["lm_head.weight"], weights["model.embed_tokens.weight"] = tables
            part = slice(i, i + s["micro"])
            loss = self.loss(weights, ids[part], targets[part], segments[part]).sum() / valid
            total += loss.item()
            parts = [(k, weights[k]) for k in leaves if k != "model.embed_tokens.weight"]
            parts += [("model.embed_tokens.weight", t) for t in tables if t.requires_grad]
            for (k, _), g in zip(parts, torch.autograd.grad(loss, [t for _, t in parts])):
                if self.half and (k[1] in NORMS or k == "model.norm.weight"):
                    g = bf16(g)
                grads[k] = bf16(grads[k] + g) if narrow else grads[k] + g
        return total, grads

    def stage(self, number, s, told, batches, firsts):
        inherited = self.grow(s) if s["grow"] else [True] * len(self.layers)
        frozen = self.frozen(s, inherited)
        params = {**self.outer, **{(l, n): p for l, layer in enumerate(self.layers) for n, p in layer.items()}}
        train, adapters, a = {k: p for k, p in params.items() if k not in frozen}, {}, s["adapter"]
        for k, p in params.items():
            if k in frozen:
                p.rest()
            elif id(p) not in self.active:
                p.fresh()
        for k, p in train.items():
            muon = s["muon"] and k[-1] in LINEAR
            if muon != p.muon:  # another optimizer, which keeps something else
                p.muon = muon
                p.fresh()
        self.active = {id(p) for p in train.values()}
        self.places = []
        if a:
            self.scale = a["alpha"] / a["r"]
            self.places = [k for k in ((l, n) for l in range(len(self.layers)) for n in LINEAR) if k in frozen]
            assert [f"model.layers.{l}.{n}" for l, n in self.places] == told["adapters"], "adapters sit elsewhere"
            for l, n in self.places:
                o, i = LINEAR[n]
                adapters[l, n, "A"], adapters[l, n, "B"] = (Param(torch.zeros(shape).double(), self.half, True) for shape in ((a["r"], i), (o, a["r"])))
            self.start(adapters, firsts[0])
        train.update(adapters)
        losses, restarts = [], 0
        for step in range(1, s["steps"] + 1):
            if self.half and step > 1:
                self.load(number, step - 1, params, adapters)
            for p in [*params.values(), *adapters.values()]:
                p.before = p.master + p.remainder
            loss, grads = self.backpropagate(s, params, train, batches[step - 1])
            losses.append(loss)
            norm = math.sqrt(sum(float((g * g).sum()) for g in grads.values()))
            coef, f = min(1.0, ADAM["clip"] / (norm + 1e-6)), self.schedule(s, step)
            for k, p in train.items():
                self.update(p, coef * grads[k], f)
            if a and a["type"] == "relora" and step % a["reset"] == 0 and step < s["steps"]:
                self.merge(adapters, told["seeds"][restarts], a.get("rounding", "stochastic"))
                restarts += 1
                self.start(adapters, firsts[restarts])
        if a:
            self.merge(adapters, told["seeds"][restarts] if self.half else None, a.get("rounding", "stochastic"))
        if self.half:
            self.load(number, s["steps"], params, {})
        return losses


def compare(root):
    worst, bad = 0.0, 0
    for name, case in cases():
        folder = root / name
        told = json.loads((folder / "told.json").read_text())
        oracle, line = Oracle(folder, case), []
        for i, s in enumerate(case["stages"]):
            t = told[i]
            batches = np.fromfile(folder / f"s{i}.batches", "<i4").reshape(s["steps"], 3, BATCH, SEQ)
            values, firsts = np.fromfile(folder / f"s{i}.adapters", "<f4").astype(np.float64), []
            places = [n.split(".", 3)[3] for n in t["adapters"] or ()]
            at = 0
            while at < values.size:
                firsts.append([])
                for n in places:
                    shape = (s["adapter"]["r"], LINEAR[n][1])
                    firsts[-1].append(torch.from_numpy(values[at:at + shape[0] * shape[1]].reshape(shape)))
                    at += shape[0] * shape[1]
            mine = oracle.stage(i, s, t, batches, firsts)
            assert len(mine) == len(t["losses"]), f"{name}: {len(t['losses'])} steps"
            line.append(max(abs(a - b) for a, b in zip(mine, t["losses"])))
        apart = MUON_APART if any(s["muon"] for s in case["stages"]) else APART
        ok = max(line) <= TOLERANCE and oracle.apart <= apart
        bad += not ok
        worst = max(worst, *line)
        print(f"{name:24} loss {told[0]['losses'][0]:.4f} to {told[-1]['losses'][-1]:.4f}; largest difference a stage " + " ".join(f"{x:.1e}" for x in line) + (f"; updates {oracle.apart:.1e}" if oracle.half else "") + ("" if ok else "  TOO LARGE"))
    if bad:
        sys.exit(f"{bad} pipelines differ from the oracle by more than {TOLERANCE}, or their updates by more than {APART} of the change, with Muon {MUON_APART}")
    print(f"the oracle agrees: {worst:.1e} at most")


if __name__ == "__main__":
    torch.set_num_threads(1)  # the products are tiny
    {"make": make, "compare": compare}[sys.argv[1]](Path(sys.argv[2]))
