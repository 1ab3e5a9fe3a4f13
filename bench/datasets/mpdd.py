"""MPDD (Jezek et al., ICUMT 2021): metal parts in the layout of MVTec AD, so that its reader serves."""

from bench.datasets.mvtec import read

__all__ = ["read"]
