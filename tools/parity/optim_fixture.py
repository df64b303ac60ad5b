"""Optimizers of low memory, by their authors' code: galore-torch, fira, apollo-torch and transformers' Adafactor, in float64.

SCALE is not on PyPI, so it is written here by the formula of its paper. Writes the weights after some of 20 steps to a file, or
with -check compares them with the file. docs/decisions/0062 says where the others' code is changed, and why.
"""
import json
import math
import sys
import types
from unittest import mock

import torch

for name in ("bitsandbytes", "bitsandbytes.optim", "bitsandbytes.optim.optimizer"):  # for 8-bit variants, which are not used
    try:
        __import__(name)
    except ImportError:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].Optimizer2State = object

import apollo_torch.apollo
import fira.fira_adamw
import fira.gradient_projection
import galore_torch.adamw
import galore_torch.galore_projector
import transformers

STEPS = 20
SHOWN = (1, 2, 3, 8, 15, 20)
SHAPES = [(4, 6), (7, 3), (5, 5), (3, 16)]
KINDS = ["linear"] * 4
LOW = dict(lr=2**-6, weight_decay=0.125, betas=[0.9, 0.95], eps=1e-6, max_norm=0.0, rank=2, update_proj_gap=7)
CASES = {
    "scale": dict(kind="scale", lr=2**-6, weight_decay=0.125, momentum=0.9, eps=1e-8, max_norm=1.0,
                  kinds=["linear", "embedding", "head", "tied"]),
    "apollo": dict(LOW, kind="apollo", scale=1.0, mini=False),
    "apollo_clipped": dict(LOW, kind="apollo", scale=4.0, mini=False, max_norm=1.0, update_proj_gap=200),
    "apollo_mini": dict(LOW, kind="apollo", scale=128.0, mini=True, rank=1),
    "galore": dict(LOW, kind="galore", scale=0.25, fira=False),
    "galore_clipped": dict(LOW, kind="galore", scale=1.0, fira=False, rank=3, max_norm=1.0, update_proj_gap=200),
    "fira": dict(LOW, kind="galore", scale=0.25, fira=True),
    "adafactor": dict(kind="adafactor", lr=2**-6, weight_decay=0.125, eps=1e-30, decay_rate=-0.8, clip_threshold=1.0,
                      scale_parameter=False, relative_step=False, max_norm=0.0, shapes=[(4, 6), (7, 3), (1, 9), (11,)]),
    "adafactor_momentum": dict(kind="adafactor", lr=2**-6, weight_decay=0.125, eps=1e-30, decay_rate=-0.8, clip_threshold=1.0, beta1=0.9,
                               scale_parameter=True, relative_step=False, max_norm=1.0, shapes=[(4, 6), (7, 3), (1, 9), (11,)]),
    "adafactor_scaled": dict(kind="adafactor", lr=1e-2, weight_decay=0.0, eps=1e-30, decay_rate=-0.8, clip_threshold=0.5,
                             scale_parameter=True, relative_step=True, max_norm=0.0, shapes=[(4, 6), (7, 3), (1, 9), (11,)]),
}


class Numbers:
    """k/128 for k from -128 to 127, by a linear congruential generator: exact in bf16."""

    def __init__(self):
        self.x = 1

    def matrix(self, shape):
        v = []
        for _ in range(math.prod(shape)):
            self.x = (self.x * 1103515245 + 12345) % 2**31
            v.append(((self.x >> 23) - 128) / 128)
        return torch.tensor(v, dtype=torch.float64).reshape(shape)


def random_matrix(seed, rows, cols):
    """The kernel random_matrix: the ones among 64 bits of splitmix64."""
    mask, v = 2**64 - 1, []
    for r in range(rows):
        for c in range(cols):
            z = ((seed << 40) + (r << 20) + c + 0x9E3779B97F4A7C15) & mask
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
            v.append((bin(z ^ (z >> 31)).count("1") - 32) / 4)
    return torch.tensor(v, dtype=torch.float64).reshape(rows, cols)


def drawn(self, gradient, proj_type):
    """apollo-torch's projection, by seeds that a test can name: 1000 times the index of the matrix, and its number."""
    self.number = getattr(self, "number", -1) + 1
    short = gradient.shape[1] if proj_type == "right" else gradient.shape[0]
    p = random_matrix(1000 * (self.seed - 1) + self.number, self.rank, short) / math.sqrt(self.rank)
    self.ortho_matrix = p if proj_type == "right" else p.T


def vectors(self, weights, rank, type):
    """galore-torch's singular vectors in float64 (it computes them in float32), each with the sign that the one before had."""
    u, _, vh = torch.linalg.svd(weights, full_matrices=False)
    p = vh[:rank] if type == "right" else u[:, :rank].T
    if self.ortho_matrix is not None:
        before = self.ortho_matrix if type == "right" else self.ortho_matrix.T
        p = torch.where((p * before).sum(1, keepdim=True) < 0, -p, p)
    return p if type == "right" else p.T


class Scale(torch.optim.Optimizer):
    """Algorithm 1 of arXiv 2506.16659, with root mean squares for norms, as in its authors' code."""

    def __init__(self, params, kinds, lr, momentum, eps):
        super().__init__(params, dict(lr=lr))
        self.kinds, self.momentum, self.eps = kinds, momentum, eps

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p, kind in zip(group["params"], self.kinds):
                u = p.grad
                if kind in ("head", "tied"):
                    m = self.state[p].setdefault("m", torch.zeros_like(u))
                    u = m.mul_(self.momentum).add_(u, alpha=1 - self.momentum)
                axis = 0 if kind == "embedding" else 1
                p.sub_(group["lr"] * u / u.square().mean(axis, keepdim=True).sqrt().clamp_min(self.eps))


def optimizer(c, params):
    if c["kind"] == "scale":
        return Scale(params, c["kinds"], c["lr"], c["momentum"], c["eps"])
    if c["kind"] == "adafactor":
        lr = None if c["relative_step"] else c["lr"]
        own = {k: c[k] for k in ("decay_rate", "clip_threshold", "scale_parameter", "relative_step", "weight_decay")}
        return transformers.Adafactor(params, lr=lr, eps=(c["eps"], 1e-3), beta1=c.get("beta1"), **own)
    group = dict(params=params, rank=c["rank"], update_proj_gap=c["update_proj_gap"], proj_type="std")
    own = dict(lr=c["lr"], betas=tuple(c["betas"]), eps=c["eps"])
    if c["kind"] == "apollo":
        group |= dict(scale=c["scale"], proj="random", scale_type="tensor" if c["mini"] else "channel")
        return apollo_torch.apollo.AdamW([group], **own)
    if c["fira"]:
        return fira.fira_adamw.AdamW([group | dict(alpha=c["scale"])], **own)
    return galore_torch.adamw.AdamW([group | dict(scale=c["scale"])], no_deprecation_warning=True, **own)


def steps(c):
    numbers, shapes = Numbers(), c.get("shapes", SHAPES)
    params = [torch.nn.Parameter(numbers.matrix(s)) for s in shapes]
    opt = optimizer(c, params)
    for step in range(1, STEPS + 1):
        for p in params:
            p.grad = numbers.matrix(p.shape)
        norm = torch.nn.utils.clip_grad_norm_(params, c["max_norm"] or math.inf)
        if not c.get("relative_step"):
            opt.param_groups[0]["lr"] = c["lr"] if step <= STEPS // 2 else c["lr"] / 2
            if c["kind"] != "adafactor":  # decoupled decay comes first, as in torch.optim.AdamW
                for p in params:
                    p.data.mul_(1 - opt.param_groups[0]["lr"] * c["weight_decay"])
        opt.step()
        if step in SHOWN:
            yield float(f"{float(norm):.8g}"), [[float(f"{x:.8g}") for x in p.detach().flatten().tolist()] for p in params]


def made():
    out = {"shapes": SHAPES, "steps": STEPS, "shown": SHOWN, "cases": []}
    with mock.patch.object(galore_torch.galore_projector.GaLoreProjector, "get_orthogonal_matrix", vectors), \
            mock.patch.object(fira.gradient_projection.GradientProjector, "get_orthogonal_matrix", vectors), \
            mock.patch.object(apollo_torch.apollo.GradientProjector, "update_ortho_matrix", drawn):
        for name, c in CASES.items():
            norms, weights = zip(*steps(c))
            own = {"kinds": KINDS, "shapes": SHAPES} | c
            out["cases"].append({"name": name, "settings": own, "norms": norms, "weights": weights})
    return out


def main():
    check, path = sys.argv[1] == "-check", sys.argv[-1]
    new = json.loads(json.dumps(made()))
    if not check:
        with open(path, "w") as f:
            text = json.dumps(new, separators=(",", ":"))
            f.write(text.replace('{"name"', '\n{"name"').replace("]],[[", "]],\n[[") + "\n")
        return
    with open(path) as f:
        old = json.load(f)
    assert [c["settings"] for c in old["cases"]] == [c["settings"] for c in new["cases"]]
    weights = lambda c: [x for step in c["weights"] for w in step for x in w]
    for a, b in zip(old["cases"], new["cases"]):
        worst = max(abs(x - y) for x, y in zip(weights(a), weights(b)))
        print(f"{path}: {a['name']}: {len(weights(a))} weights, largest difference {worst:.1e}")
        assert worst < 1e-6


if __name__ == "__main__":
    main()
