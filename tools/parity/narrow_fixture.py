"""AdamW with moments in codes of 8 bits by bitsandbytes, its maps, and Muon with a momentum in codes by its formulas.

Writes the maps, weights of each of 20 steps and the codes after the last to a file, or with -check compares them with
those in it.
"""
import base64
import json
import math
import sys
from unittest import mock

import bitsandbytes as bnb
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
MUON = dict(lr=2**-6, weight_decay=0.125, momentum=0.95, eps=1e-7, ns_steps=5, adjust_lr_fn="original")


def start():
    """Weights, and gradients of which neighbours differ by a factor of up to 256 and few lie between two codes."""
    numbers = Numbers()
    weights = [numbers.matrix(s).float() for s in SHAPES]
    index = [torch.arange(math.prod(s)).reshape(s) for s in SHAPES]
    spread = [0.5 ** (i % 9) * (1 + i % 251 / 1024) for i in index]
    return weights, [[(numbers.matrix(s) * f).float() for s, f in zip(SHAPES, spread)] for _ in range(STEPS)]


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
