"""Optimizers with moments in codes of 8 bits: bitsandbytes' AdamW and its maps, galore-torch's 8-bit GaLore, Muon by its formulas,
and the code of others for APOLLO, Adafactor and SCALE, with their moments put into codes after each step.

Writes the maps, weights of each of 20 steps and the codes after the last to a file, or with -check compares them with
those in it.
"""
import base64
import json
import math
import sys
from unittest import mock

import apollo_torch.apollo
import bitsandbytes as bnb
import galore_torch
import galore_torch.galore_projector
import optim_fixture
import torch
from bitsandbytes.backends.cpu import ops
from bitsandbytes.functional import create_dynamic_map
from muon_fixture import NS, STEPS, Numbers, orthogonalize, ratio

BLOCK, EVERY = 256, 61  # elements that share a scale; of the weights of a step every 61st is written
SHAPES = [(64, 64), (16, 300), (33, 130), (10, 7)]  # whole blocks, parts of blocks, odd rows, too few elements for codes
CASES = {
    "plain": dict(lr=2**-7, betas=[0.9, 0.95], weight_decay=0.0, max_norm=0.0),
    "decay_clipped": dict(lr=2**-6, betas=[0.9, 0.999], weight_decay=0.125, max_norm=1.0),
}
LOW_SHAPES = [(24, 300), (300, 24), (24, 40)]  # at rank 16, moments in codes on either side, and too few for codes
LOW = dict(lr=2**-7, weight_decay=0.125, betas=[0.9, 0.95], eps=1e-8, max_norm=1.0, rank=16, update_proj_gap=7, kinds=["linear"] * 3,
           shapes=LOW_SHAPES)
LOW_CASES = {
    "galore": dict(LOW, kind="galore", scale=0.25, fira=False),
    "apollo": dict(LOW, kind="apollo", scale=1.0, mini=False),
    "scale": dict(kind="scale", lr=2**-7, weight_decay=0.0, momentum=0.9, eps=1e-8, max_norm=1.0, kinds=["linear", "head", "embedding"],
                  shapes=LOW_SHAPES),
    "adafactor": dict(kind="adafactor", lr=2**-7, weight_decay=0.125, eps=1e-30, decay_rate=-0.8, clip_threshold=1.0, beta1=0.9,
                      scale_parameter=False, relative_step=False, max_norm=0.0, kinds=["linear"] * 3, shapes=LOW_SHAPES),
}
MUON = dict(lr=2**-6, weight_decay=0.125, momentum=0.95, eps=1e-7, ns_steps=5, adjust_lr_fn="original")


def start(shapes=SHAPES):
    """Weights, and gradients of which neighbours differ by a factor of up to 256 and few lie between two codes."""
    numbers = Numbers()
    weights = [numbers.matrix(s).float() for s in shapes]
    index = [torch.arange(math.prod(s)).reshape(s) for s in shapes]
    spread = [0.5 ** (i % 9) * (1 + i % 251 / 1024) for i in index]
    return weights, [[(numbers.matrix(s) * f).float() for s, f in zip(shapes, spread)] for _ in range(STEPS)]


def numbers_of(t):
    return [float(f"{x:.9g}") for x in t.flatten().tolist()]


def sample(weights):
    return [numbers_of(w.flatten()[::EVERY]) for w in weights]


def nearest(x, code, absmax, out, _):
    """The nearest codes, as bitsandbytes finds them on cards and on devices that it has no code for."""
    blocks = torch.nn.functional.pad(x.flatten(), (0, -x.numel() % BLOCK)).reshape(-1, BLOCK)
    absmax.copy_(blocks.abs().amax(1))
    scaled = blocks * (1.0 / absmax.clamp(min=1e-38)).view(-1, 1)
    out.copy_(torch.bucketize(scaled, (code[:-1] + code[1:]) / 2).flatten()[: x.numel()].reshape(x.shape))


def adamw(c):
    """bitsandbytes' own, on the CPU. Tensors below min_8bit_size keep their moments in fp32."""
    weights, grads = start()
    params = [torch.nn.Parameter(w) for w in weights]
    opt = bnb.optim.AdamW8bit(params, lr=c["lr"], betas=tuple(c["betas"]), eps=1e-8, weight_decay=c["weight_decay"])
    steps, norms = [], []
    for list_ in grads:
        for p, g in zip(params, list_):
            p.grad = g.clone()
        norms.append(float(torch.nn.utils.clip_grad_norm_(params, c["max_norm"] or math.inf)))
        opt.step()
        steps.append(sample([p.detach() for p in params]))
    states = []
    for p in params:
        s = opt.state[p]
        if s["state1"].dtype == torch.uint8:
            states.append({k: base64.b64encode(s[n].numpy().tobytes()).decode() for k, n in [("m", "state1"), ("v", "state2")]}
                          | {"m_scales": numbers_of(s["absmax1"]), "v_scales": numbers_of(s["absmax2"])})
        else:
            states.append({})
    return {"norms": norms, "weights": steps, "states": states}


def linear(x):
    """Multiples of 1/127 of the largest magnitude of each block, as they are kept."""
    flat = torch.nn.functional.pad(x.flatten(), (0, -x.numel() % BLOCK)).reshape(-1, BLOCK)
    scale = flat.abs().amax(1, keepdim=True)
    kept = torch.where(scale > 0, torch.round(flat / scale * 127) / 127 * scale, 0)
    return kept.flatten()[: x.numel()].reshape(x.shape)


def muon(c, nesterov):
    """Muon whose momentum is kept in codes between steps, in float64."""
    weights, grads = start()
    weights, momenta = [w.double() for w in weights], [torch.zeros_like(w).double() for w in weights]
    steps = []
    for list_ in grads:
        for i, g in enumerate(list_):
            g, mu = g.double(), c["momentum"]
            m = mu * momenta[i] + (1 - mu) * g
            momenta[i] = linear(m) if g.numel() >= 4096 else m
            u = mu * m + (1 - mu) * g if nesterov else m
            o = orthogonalize(u, NS, c["ns_steps"], c["eps"])
            weights[i] = weights[i] - c["lr"] * c["weight_decay"] * weights[i] - c["lr"] * ratio(c["adjust_lr_fn"], *g.shape) * o
        steps.append(sample(weights))
    return {"nesterov": nesterov, "weights": steps}


def coded(opt):
    """Puts what an optimizer keeps of large tensors into the nearest codes, and back."""
    for state in opt.state.values():
        for name, signed in (("exp_avg", True), ("exp_avg_sq", False), ("m", True)):
            x = state.get(name)
            if x is None or x.numel() < 4096:
                continue
            code, absmax, codes = create_dynamic_map(signed), torch.empty(-(-x.numel() // BLOCK)), torch.empty(x.shape, dtype=torch.int64)
            nearest(x.float(), code, absmax, codes, None)
            x.copy_((code[codes.flatten()] * absmax.repeat_interleave(BLOCK)[: x.numel()]).reshape(x.shape))


def low(name, c):
    """20 steps of an optimizer whose moments are in codes: galore-torch's own, others by `coded` in float64."""
    galore = c["kind"] == "galore"
    weights, grads = start(c["shapes"])
    params = [torch.nn.Parameter(w if galore else w.double()) for w in weights]
    if galore:
        # On CPUs, bitsandbytes does not move small tensors whose data GaLore exchanges for the update: these are galore-torch's alone.
        small = [p for p in params if c["rank"] * max(p.shape) < 4096]
        group = dict(rank=c["rank"], update_proj_gap=c["update_proj_gap"], scale=c["scale"], proj_type="std")
        own = dict(lr=c["lr"], betas=tuple(c["betas"]), eps=c["eps"], weight_decay=0)
        large = [p for p in params if not any(p is s for s in small)]
        opts = [galore_torch.GaLoreAdamW8bit([group | dict(params=large)], **own),
                galore_torch.GaLoreAdamW([group | dict(params=small)], no_deprecation_warning=True, **own)]
    else:
        opts = [optim_fixture.optimizer(c, params)]
    norms, steps = [], []
    for list_ in grads:
        for p, g in zip(params, list_):
            p.grad = g.to(p.dtype)
        norms.append(float(torch.nn.utils.clip_grad_norm_(params, c["max_norm"] or math.inf)))
        if c["kind"] != "adafactor":  # decoupled decay comes first, as in torch.optim.AdamW
            for p in params:
                p.data.mul_(1 - c["lr"] * c["weight_decay"])
        for opt in opts:
            opt.step()
        if not galore:
            coded(*opts)
        steps.append(sample([p.detach() for p in params]))
    return {"name": name, "settings": c, "norms": norms, "weights": steps}


def lows():
    def vectors(self, weights, rank, type):
        """The first vectors have elements of a positive sum: the map has 1 but not -1, so that signs matter."""
        if self.ortho_matrix is None:
            self.ortho_matrix = torch.ones(rank, weights.shape[1]) if type == "right" else torch.ones(weights.shape[0], rank)
        return optim_fixture.vectors(self, weights.double(), rank, type).float()

    with mock.patch.object(galore_torch.galore_projector.GaLoreProjector, "get_orthogonal_matrix", vectors), \
            mock.patch.object(apollo_torch.apollo.GradientProjector, "update_ortho_matrix", optim_fixture.drawn), \
            mock.patch.object(ops, "_quant_blockwise_fp32_direct", nearest), mock.patch.object(torch.cuda, "synchronize", lambda: None):
        return [low(n, c) for n, c in LOW_CASES.items()]


def agreed(c):
    """The case with the nearest codes. On CPUs, bitsandbytes finds codes in a table of 65,536 equally spaced numbers, which loses
    numbers below 1/32,768 of a block's largest: most second moments here."""
    own = adamw(c)
    with mock.patch.object(ops, "_quant_blockwise_fp32_direct", nearest):
        exact = adamw(c)
    a, b = (torch.tensor(flat(x["weights"][-1])) for x in (own, exact))
    print(f"weights differ by {float((a - b).abs().max()):.1e} where bitsandbytes finds codes with its table")
    return exact


def made():
    maps = {"dynamic8": numbers_of(create_dynamic_map(signed=True)), "udynamic8": numbers_of(create_dynamic_map(signed=False))}
    return {"shapes": SHAPES, "every": EVERY, "maps": maps,
            "adamw": [{"name": n, "adamw": c} | agreed(c) for n, c in CASES.items()],
            "low": lows(),
            "muon": {"muon": MUON, "cases": [muon(MUON, n) for n in (True, False)]}}


def flat(x):
    """All numbers of a value, in order."""
    if isinstance(x, dict):
        x = list(x.values())
    if isinstance(x, list | tuple):
        return [n for y in x for n in flat(y)]
    return [x] if isinstance(x, int | float) else []


def main():
    check, path = sys.argv[1] == "-check", sys.argv[-1]
    new = made()
    if not check:
        with open(path, "w") as f:
            f.write(json.dumps(new, separators=(",", ":")).replace("]],[[", "]],\n[[").replace('{"name"', '\n{"name"') + "\n")
        return
    with open(path) as f:
        old = json.load(f)
    assert old["maps"] == new["maps"], "the maps of bitsandbytes differ"
    a, b = (torch.tensor(flat(d), dtype=torch.float64) for d in (old, new))
    worst = float((a - b).abs().max())
    print(f"{path}: {len(a)} numbers, largest difference {worst:.1e}; maps of {len(new['maps'])} x 256 values are equal")
    assert worst < 1e-3


if __name__ == "__main__":
    main()
