"""Finds the packages, so that a new folder with an __init__.py needs no line anywhere; all else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["genrl", "genrl.*"]), "genrl_envs", *(f"genrl_envs.{name}" for name in find_packages("envs"))],
    package_dir={"genrl_envs": "envs"},
)
