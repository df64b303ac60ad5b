"""Peers of stepflow's devices: matrix products in OpenBLAS (NumPy's wheel) and oneDNN (PyTorch's
wheel), and a training step of a LLaMA in PyTorch, on the CPU or a card. One process measures one thing and prints JSON."""
import argparse
import json
import os
import statistics
import sys
import time


def flags(p):
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int, default=2)
    for name in "hidden intermediate layers heads vocab seq batch steps".split():
        p.add_argument("--" + name, type=int)
    p.add_argument("--precision", default="fp32")


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
    import llama
    import torch
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    model = llama.build(a)
    if a.precision == "bf16":  # 2-byte weights, gradients and moments: less than the paper's accounting
        model = model.to(torch.bfloat16)
    model = model.to(a.device)
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), fused=True)
    if a.mode == "compile":
        model = torch.compile(model)
    elif a.mode == "max-autotune":
        model = torch.compile(model, mode="max-autotune-no-cudagraphs")
    llama.train(a, model, opt)


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
    flags(p)
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
