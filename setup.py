"""What pyproject.toml cannot say: packages that include a part of Twisted's plugin package."""

from setuptools import find_packages, setup

setup(
    # twisted.plugins belongs to Twisted: our wheel adds one module to it and never an __init__.py.
    packages=[*find_packages(include=["callcenter_ws", "callcenter_ws.*"]), "twisted.plugins"],
    # Without this an editable install maps callcenter_ws alone, and twistd does not find the plugin.
    package_dir={"": "."},
)
