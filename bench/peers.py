"""Peers of stepflow's devices: matrix products in OpenBLAS (NumPy's wheel) and oneDNN (PyTorch's
wheel), and a training step of a LLaMA in PyTorch, on the CPU or a card. One process measures one thing and prints JSON."""
import argparse
import json
import os
import resource
import statistics
import sys
import time


def versions():
    import numpy
    import torch
    if torch.cuda.is_available():
        return {"torch": torch.__version__, "card": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "python": sys.version.split()[0]}
    blas = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {"numpy": numpy.__version__, "openblas": f"{blas['name']} {blas['version']}", "torch": torch.__version__,
            "onednn": torch.__config__.show().split("MKL-DNN ")[1].split(" ")[0], "python": sys.version.split()[0]}


def products(threads):
    """Reads a product a line as JSON and answers with the seconds of each run asked for."""
    os.environ["OPENBLAS_NUM_THREADS"] = str(threads)  # read when NumPy loads it
    import numpy
    import torch
    torch.set_num_threads(threads)
    rng = numpy.random.default_rng(0)
    kept = {}

    def operands(q):
        key = (q["m"], q["n"], q["k"], q["trans_a"], q["trans_b"], q["peer"])
        if key not in kept:
            kept.clear()
            m, n, k = key[:3]
            a = rng.standard_normal((k, m) if q["trans_a"] else (m, k), dtype="float32")
            b = rng.standard_normal((n, k) if q["trans_b"] else (k, n), dtype="float32")
            c = numpy.empty((m, n), dtype="float32")
            if q["peer"] != "openblas":
                t = torch.bfloat16 if q["peer"] == "onednn_bf16" else torch.float32
                a, b, c = (torch.from_numpy(x).to(t) for x in (a, b, c))
            kept[key] = (a.T if q["trans_a"] else a, b.T if q["trans_b"] else b, c)
        return kept[key]

    for line in sys.stdin:
        q = json.loads(line)
        a, b, c = operands(q)
        if q["peer"] == "openblas":
            run = lambda: numpy.matmul(a, b, out=c)
        elif q["peer"] == "onednn":
            # An inner product that oneDNN computes; torch.mm would go to MKL in fp32.
            w = b.T.contiguous()
            x = a.contiguous()
            run = lambda: torch.ops.mkldnn._linear_pointwise(x, w, None, "none", [], "")
        else:
            run = lambda: torch.mm(a, b, out=c)
        with torch.inference_mode():
            run()
            times = []
            for _ in range(q["runs"]):
                start = time.perf_counter()
                run()
                times.append(time.perf_counter() - start)
        print(json.dumps({"seconds": times}), flush=True)


def step(a):
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)

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
    if a.precision == "bf16":  # 2-byte weights, gradients and moments: less than the paper's accounting
        model = model.to(torch.bfloat16)
    model = model.to(a.device)
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), fused=True)
    if a.mode == "compile":
        model = torch.compile(model)
    elif a.mode == "max-autotune":
        model = torch.compile(model, mode="max-autotune-no-cudagraphs")
    seconds, losses = [], []
    for _ in range(a.steps):
        ids = torch.randint(0, a.vocab, (a.batch, a.seq), device=a.device)
        targets = torch.randint(0, a.vocab, (a.batch, a.seq), device=a.device)
        start = time.perf_counter()
        with torch.autocast(a.device, torch.bfloat16, enabled=a.precision == "bf16-autocast"):
            loss = model(ids, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    tokens = a.batch * a.seq
    peak = torch.cuda.max_memory_allocated() if a.device == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"tokens_per_second": tokens / statistics.median(seconds[2:]), "peak_bytes": peak, "loss": losses[-1]}))


def card(a):
    """What PyTorch reaches on the card with the shapes of a layer, in bf16: products, attention, a copy."""
    import torch
    import torch.nn.functional as F
    n, h, m, d = a.batch * a.seq, a.hidden, a.intermediate, a.hidden // a.heads
    new = lambda *shape: torch.randn(*shape, device="cuda", dtype=torch.bfloat16)

    def seconds(run):
        for _ in range(3):
            run()
        times = []
        for _ in range(10):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end) / 1e3)
        return statistics.median(times)

    def product(name, x, y):
        s = seconds(lambda: x @ y)
        print(f"{name:30} {s * 1e3:9.3f} ms {2 * x.shape[0] * x.shape[1] * y.shape[1] / s / 1e9:12.0f} GFLOP/s")

    x, wide = new(n, h), new(n, m)
    product("attention projection", x, new(h, h).T)
    product("gate projection", x, new(m, h).T)
    product("its input gradient", wide, new(m, h))
    product("its weight gradient", wide.T, x)
    q, k, v = (new(a.batch, a.heads, a.seq, d).requires_grad_() for _ in range(3))
    pairs = a.batch * h * a.seq * (a.seq + 1) // 2  # of channels and causal pairs
    s = seconds(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True))
    print(f"{'attention':30} {s * 1e3:9.3f} ms {4 * pairs / s / 1e9:12.0f} GFLOP/s")
    o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    g = torch.randn_like(o)
    s = seconds(lambda: torch.autograd.grad(o, (q, k, v), g, retain_graph=True))
    print(f"{'attention, backward':30} {s * 1e3:9.3f} ms {10 * pairs / s / 1e9:12.0f} GFLOP/s")
    big = torch.empty(1 << 28, device="cuda")
    to = torch.empty_like(big)
    s = seconds(lambda: to.copy_(big))
    print(f"{'copy of 1 GiB':30} {s * 1e3:9.3f} ms {2 * 4 * big.numel() / s / 1e9:12.0f} GB/s")


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("what", choices=["versions", "products", "step", "card"])
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int, default=2)
    for name in "hidden intermediate layers heads vocab seq batch steps".split():
        p.add_argument("--" + name, type=int)
    p.add_argument("--precision", default="fp32")
    p.add_argument("--mode", default="eager")
    a = p.parse_args()
    if a.what == "versions":
        print(json.dumps(versions()))
    elif a.what == "card":
        card(a)
    elif a.what == "products":
        products(a.threads)
    else:
        step(a)
