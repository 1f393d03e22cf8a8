"""Copies of modules without what torch.compile made of them."""

from __future__ import annotations

import types

from torch import nn


def uncompiled(module: nn.Module) -> nn.Module:
    """A copy whose modules run as they are written, not as torch.compile made of them.

    It would compile anew for every size of a batch, and again with and without gradients and hooks, until it gives up.
    """
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and hasattr(child, "_orig_mod"):
                setattr(parent, name, child._orig_mod)
    module = getattr(module, "_orig_mod", module)
    for submodule in module.modules():
        if getattr(submodule, "_compiled_call_impl", None) is not None:
            submodule._compiled_call_impl = None
        # A compiled method is a function that is bound to the module it was copied from.
        compiled = submodule.__dict__.get("forward")
        original = getattr(compiled, "_torchdynamo_orig_callable", None)
        if original is not None:
            submodule.forward = types.MethodType(getattr(original, "__func__", original), submodule)
    return module


def plain_name(layer: str) -> str:
    """The name of a layer in a copy, which has nothing of torch.compile."""
    return layer.replace("_orig_mod.", "")
