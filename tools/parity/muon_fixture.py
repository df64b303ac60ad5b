"""Muon in float64, checked against torch.optim.Muon.

Writes the weights after each of 20 steps to a file, or with -check compares them with those in it.
"""
import json
import math
import sys
from unittest import mock

import torch
from torch.optim import _muon

STEPS = 20
SHAPES = [(4, 6), (7, 3), (5, 5), (1, 8)]
NS = (3.4445, -4.7750, 2.0315)
DEFAULTS = dict(lr=2**-6, weight_decay=0.125, momentum=0.95, nesterov=True, eps=1e-7, ns_steps=5)
CASES = {  # names as in torch.optim.Muon; max_norm is that of clip_grad_norm_
    "original": dict(adjust_lr_fn="original", max_norm=0.0),
    "match_rms_adamw": dict(lr=2**-5, adjust_lr_fn="match_rms_adamw", max_norm=0.0),
    "spectral_unclamped": dict(weight_decay=0.0, momentum=0.9, ns_steps=3, adjust_lr_fn="spectral_unclamped", max_norm=0.0),
    "plain_momentum": dict(weight_decay=0.0, nesterov=False, adjust_lr_fn="original", max_norm=0.0),
    "clipped_large_eps": dict(lr=2**-5, nesterov=False, eps=0.25, adjust_lr_fn="match_rms_adamw", max_norm=1.0),
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


def orthogonalize(u, coefficients, steps, eps):
    """The quintic Newton-Schulz iteration of https://kellerjordan.github.io/posts/muon, in the type of u."""
    a, b, c = coefficients
    x = u.T if u.shape[0] > u.shape[1] else u
    x = x / max(float(x.norm()), eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if u.shape[0] > u.shape[1] else x


def ratio(name, rows, cols):
    return {
        "original": max(1, rows / cols) ** 0.5,
        "match_rms_adamw": 0.2 * max(rows, cols) ** 0.5,
        "spectral_unclamped": (rows / cols) ** 0.5,
    }[name]


def start():
    numbers = Numbers()
    weights = [numbers.matrix(s) for s in SHAPES]
    return weights, [[numbers.matrix(s) for s in SHAPES] for _ in range(STEPS)]


def rate(c, step):
    return c["lr"] if step < STEPS // 2 else c["lr"] / 2


def ours(c):
    """The formulas, plainly."""
    weights, grads = start()
    momenta = [torch.zeros_like(w) for w in weights]
    for step, list_ in enumerate(grads):
        norm = math.sqrt(sum(float((g * g).sum()) for g in list_))
        coef = min(1, c["max_norm"] / (norm + 1e-6)) if c["max_norm"] else 1
        lr, mu = rate(c, step), c["momentum"]
        for i, g in enumerate(list_):
            g = coef * g
            momenta[i] = mu * momenta[i] + (1 - mu) * g
            u = mu * momenta[i] + (1 - mu) * g if c["nesterov"] else momenta[i]
            o = orthogonalize(u, NS, c["ns_steps"], c["eps"])
            weights[i] = weights[i] - lr * c["weight_decay"] * weights[i] - lr * ratio(c["adjust_lr_fn"], *g.shape) * o
        yield norm, [w.clone() for w in weights]


def theirs(c, dtype):
    """torch.optim.Muon, whose Newton-Schulz iteration is in bf16."""
    weights, grads = start()
    params = [torch.nn.Parameter(w.to(dtype)) for w in weights]
    own = {k: c[k] for k in ("lr", "weight_decay", "momentum", "nesterov", "eps", "ns_steps", "adjust_lr_fn")}
    opt = torch.optim.Muon(params, ns_coefficients=NS, **own)
    for step, list_ in enumerate(grads):
        for p, g in zip(params, list_):
            p.grad = g.to(dtype)
        norm = torch.nn.utils.clip_grad_norm_(params, c["max_norm"] or math.inf)
        opt.param_groups[0]["lr"] = rate(c, step)
        opt.step()
        yield float(norm), [p.detach().double().clone() for p in params]


def moved(a, b, first):
    """The distance of two lists of matrices, relative to how far the first has moved."""
    size = lambda x, y: math.sqrt(sum(float(((p - q) ** 2).sum()) for p, q in zip(x, y)))
    return size(a, b) / size(a, first)


def flat(matrices):
    return [[float(f"{x:.8g}") for x in m.flatten().tolist()] for m in matrices]


def made():
    first, _ = start()
    out = {"shapes": SHAPES, "steps": STEPS, "cases": []}
    for name, own in CASES.items():
        c = DEFAULTS | own
        want = list(ours(c))
        with mock.patch.object(_muon, "_zeropower_via_newtonschulz", orthogonalize):
            exact = list(theirs(c, torch.float64))
        half = list(theirs(c, torch.float32))
        worst = max(moved(w, x, first) for (_, w), (_, x) in zip(want, exact))
        bf16 = max(moved(w, x, first) for (_, w), (_, x) in zip(want, half))
        print(f"{name}: torch.optim.Muon differs by {worst:.1e} with this iteration, by {bf16:.1e} with its own, in bf16")
        assert worst < 1e-10 and bf16 < 0.03, name
        assert max(abs(m - n) for (m, _), (n, _) in zip(want, exact)) < 1e-6
        out["cases"].append({"name": name, "muon": c, "norms": [float(f"{n:.8g}") for n, _ in want],
                             "weights": [flat(w) for _, w in want], "bf16": flat(half[-1][1])})
    return out


def main():
    check, path = sys.argv[1] == "-check", sys.argv[-1]
    new = made()
    if not check:
        with open(path, "w") as f:
            text = json.dumps(new, separators=(",", ":"))
            f.write(text.replace('{"name"', '\n{"name"').replace("]],[[", "]],\n[[") + "\n")
        return
    with open(path) as f:
        old = json.load(f)
    weights = lambda d: [x for c in d["cases"] for step in c["weights"] for w in step for x in w]
    a, b = (torch.tensor(weights(d), dtype=torch.float64) for d in (old, new))
    assert [c["muon"] for c in old["cases"]] == [c["muon"] for c in new["cases"]]
    worst = float((a - b).abs().max())
    print(f"{path}: {len(a)} weights, largest difference {worst:.1e}")
    assert worst < 1e-6


if __name__ == "__main__":
    main()
