"""What bitsandbytes makes of matrices in NF4 with double quantisation, and row by row in int8: gpu/testdata/bitsandbytes.json.

usage: quantized_fixture.py [-check] FILE
"""
import base64
import json
import sys

import numpy as np
import torch
import bitsandbytes.functional as bnb

SHAPES = [(64, 64), (7, 65), (1, 3), (5, 130), (96, 344), (3, 128)]


def weights(rows, cols):
    """The numbers that gpu/quantized_test.go makes too."""
    i = np.arange(rows * cols, dtype=np.uint64)
    u = ((i * np.uint64(2654435761) + np.uint64(12345)) % np.uint64(1 << 32)).astype(np.float64) / 2**32 - 0.5
    w = (u * u * u * 8 * (1 + (i // np.uint64(cols)) % np.uint64(7)).astype(np.float64)).astype(np.float32)
    if (rows, cols) == (3, 128):
        w[:70] = 0  # a block of zeros
    return torch.from_numpy(w.reshape(rows, cols))


def text(x):
    return base64.b64encode(np.ascontiguousarray(x.numpy()).tobytes()).decode()


def case(rows, cols):
    w = weights(rows, cols)
    codes, state = bnb.quantize_4bit(w, blocksize=64, compress_statistics=True, quant_type="nf4")
    int8, rowmax, _ = torch.ops.bitsandbytes.int8_vectorwise_quant(w.clone(), 0.0)
    found = {"shape": [rows, cols],
             "nf4": {"mean": text(state.offset.reshape(1)), "groups": text(state.state2.absmax), "scales": text(state.absmax),
                     "codes": text(codes.reshape(-1))},
             "int8": {"scales": text(rowmax), "codes": text(int8.reshape(-1))}}
    if rows * cols <= 1000:  # of more the codes are enough
        found["nf4"]["values"] = text(bnb.dequantize_4bit(codes, state))
        found["int8"]["values"] = text(bnb.int8_vectorwise_dequant(int8, rowmax))
    return found


def main():
    check, path = sys.argv[1] == "-check", sys.argv[-1]
    made = {"levels": text(bnb.get_4bit_type("nf4", device="cpu")), "scale_map": text(bnb.create_dynamic_map()),
            "cases": [case(*s) for s in SHAPES]}
    out = json.dumps(made, indent=1) + "\n"
    if check:
        if open(path).read() != out:
            sys.exit(f"{path} is not what bitsandbytes gives")
        print(f"{path}: as bitsandbytes")
        return
    open(path, "w").write(out)


main()
