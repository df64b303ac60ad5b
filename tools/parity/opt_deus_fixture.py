"""Two layers with random weights and the layer that opt_deus puts between them, by exact optimal transport (POT and scipy).

usage: opt_deus_fixture.py [-check] FILE
"""
import json
import sys

import numpy as np
import ot
import torch
from scipy.optimize import linear_sum_assignment

HIDDEN, INNER, HEADS, KV, DIM = 8, 11, 6, 2, 4
SHAPES = {"self_attn.q_proj.weight": (HEADS * DIM, HIDDEN), "self_attn.q_proj.bias": (HEADS * DIM,), "self_attn.k_proj.weight": (KV * DIM, HIDDEN),
          "self_attn.v_proj.weight": (KV * DIM, HIDDEN), "self_attn.o_proj.weight": (HIDDEN, HEADS * DIM), "input_layernorm.weight": (HIDDEN,),
          "mlp.gate_proj.weight": (INNER, HIDDEN), "mlp.up_proj.weight": (INNER, HIDDEN), "mlp.down_proj.weight": (HIDDEN, INNER)}


def transport(lower, upper):
    """For each row of upper, the row of lower that equal masses move from, at the least squared distances in all."""
    cost = torch.cdist(upper, lower).double().pow(2).numpy()
    n = len(cost)
    plan = ot.emd(np.full(n, 1 / n), np.full(n, 1 / n), cost)
    order = plan.argmax(1)
    assert (np.sort(order) == np.arange(n)).all() and np.allclose(plan.max(1), 1 / n)
    assert (order == linear_sum_assignment(cost)[1]).all()
    return order


def between(lower, upper):
    lower, upper = dict(lower), dict(upper)
    q, qb, k, v, o = (f"self_attn.{x}" for x in ("q_proj.weight", "q_proj.bias", "k_proj.weight", "v_proj.weight", "o_proj.weight"))
    gate, up, down = (f"mlp.{x}_proj.weight" for x in ("gate", "up", "down"))

    neurons = transport(*(torch.cat([w[gate], w[up], w[down].T], 1) for w in (lower, upper)))
    lower[gate], lower[up], lower[down] = lower[gate][neurons], lower[up][neurons], lower[down][:, neurons]

    # [group, query head, channel, hidden]; k and v have one head a group
    def split(w):
        return {q: w[q].view(KV, -1, DIM, HIDDEN), qb: w[qb].view(KV, -1, DIM), k: w[k].view(KV, DIM, HIDDEN), v: w[v].view(KV, DIM, HIDDEN),
                o: w[o].T.reshape(KV, -1, DIM, HIDDEN)}

    a, b = split(lower), split(upper)
    groups = transport(*(torch.cat([w[x].reshape(KV, -1) for x in (q, qb, k, v, o)], 1) for w in (a, b)))
    a = {x: y[groups] for x, y in a.items()}
    for g in range(KV):
        heads = transport(*(torch.cat([w[x][g].flatten(1) for x in (q, qb, o)], 1) for w in (a, b)))
        for x in (q, qb, o):
            a[x][g] = a[x][g][heads]
    for g in range(KV):
        channels = transport(*(torch.cat([w[v][g]] + list(w[o][g]), 1) for w in (a, b)))
        a[v][g], a[o][g] = a[v][g][channels], a[o][g][:, channels]
    for x in (q, qb, k, v):
        lower[x] = a[x].reshape(SHAPES[x])
    lower[o] = a[o].reshape(HEADS * DIM, HIDDEN).T
    return {x: (lower[x] + upper[x]) / 2 for x in SHAPES}


torch.manual_seed(1)
layers = [{x: (100 * torch.randn(s)).round() / 128 for x, s in SHAPES.items()} for _ in range(2)]
result = layers + [between(*layers)]
text = json.dumps([{x: y.flatten().tolist() for x, y in w.items()} for w in result], indent=None, separators=(",", ":")) + "\n"
if sys.argv[1] == "-check":
    assert open(sys.argv[2]).read() == text, sys.argv[2]
    print(f"{sys.argv[2]}: the same, by POT and scipy")
else:
    open(sys.argv[1], "w").write(text)
