"""The list of packages, which pyproject.toml cannot express: it includes a part of Twisted's plugin package."""

from setuptools import find_packages, setup

setup(
    # The package twisted.plugins belongs to Twisted: the wheel adds two modules to it, and no __init__.py.
    packages=[*find_packages(include=["callcenter_ws", "callcenter_ws.*"]), "twisted.plugins"],
    # Without this an editable installation maps only callcenter_ws, and twistd does not find the plugin.
    package_dir={"": "."},
)
