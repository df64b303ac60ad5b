"""A LLaMA in PyTorch, with the shapes of bench/step, and the steps that are timed."""
import json
import resource
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


def build(a):
    """A model with normally distributed weights, in fp32."""
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            h, m = a.hidden, a.intermediate
            self.n1, self.n2 = nn.Parameter(torch.ones(h)), nn.Parameter(torch.ones(h))
            self.q, self.k, self.v, self.o = (nn.Linear(h, h, bias=False) for _ in range(4))
            self.gate, self.up = nn.Linear(h, m, bias=False), nn.Linear(h, m, bias=False)
            self.down = nn.Linear(m, h, bias=False)

        def forward(self, x, cos, sin):
            b, s, h = x.shape
            y = F.rms_norm(x, (h,), self.n1, 1e-5)

            def heads(t):
                return t.view(b, s, a.heads, h // a.heads).transpose(1, 2)

            def rotate(t):
                p, q = t.chunk(2, -1)
                return t * cos + torch.cat((-q, p), -1) * sin

            q, k, v = rotate(heads(self.q(y))), rotate(heads(self.k(y))), heads(self.v(y))
            y = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, is_causal=True)
            x = x + self.o(y.transpose(1, 2).reshape(b, s, h))
            y = F.rms_norm(x, (h,), self.n2, 1e-5)
            return x + self.down(F.silu(self.gate(y)) * self.up(y))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(a.vocab, a.hidden)
            self.layers = nn.ModuleList(Layer() for _ in range(a.layers))
            self.norm = nn.Parameter(torch.ones(a.hidden))
            self.head = nn.Linear(a.hidden, a.vocab, bias=False)
            d = a.hidden // a.heads
            angle = torch.outer(torch.arange(a.seq).float(), 1e4 ** (-torch.arange(0, d, 2).float() / d)).repeat(1, 2)
            self.register_buffer("cos", angle.cos())
            self.register_buffer("sin", angle.sin())

        def forward(self, ids, targets):
            x = self.embed(ids)
            cos, sin = self.cos.to(x.dtype), self.sin.to(x.dtype)
            for layer in self.layers:
                x = layer(x, cos, sin)
            x = F.rms_norm(x, (x.shape[-1],), self.norm, 1e-5)
            return F.cross_entropy(self.head(x).view(-1, a.vocab).float(), targets.view(-1))

    model = Model()
    for p in model.parameters():
        if p.dim() > 1:
            nn.init.normal_(p, std=0.02)
    return model


def train(a, model, opt, trainable=None, **more):
    """Steps with clipping, on tokens at random. Prints tokens/s after two steps, and the most memory the process had."""
    trainable, seconds, losses = trainable or list(model.parameters()), [], []
    for _ in range(a.steps):
        ids = torch.randint(0, a.vocab, (a.batch, a.seq), device=a.device)
        targets = torch.randint(0, a.vocab, (a.batch, a.seq), device=a.device)
        start = time.perf_counter()
        with torch.autocast(a.device, torch.bfloat16, enabled=a.precision == "bf16-autocast"):
            loss = model(ids, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    tokens = a.batch * a.seq
    peak = torch.cuda.max_memory_allocated() if a.device == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"tokens_per_second": tokens / statistics.median(seconds[2:]), "peak_bytes": peak, "loss": losses[-1]} | more))
