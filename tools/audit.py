"""Asks pip-audit for known vulnerabilities of the pinned packages: python tools/audit.py

It reads every version in requirements/dev.txt, for whatever Python, and needs the network. An
advisory in requirements/advisories.toml is accepted for the reason given there; any other fails.
A service that cannot be reached, or that knows none of the packages, as a mirror's may, is no
failure: one line says that nothing was checked. So is a Python before 3.10, which pip-audit needs.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"


def pins(text):
    """Return the names and versions in a requirements file, whatever their markers."""
    return re.findall(r"^([\w.-]+)==([\w.+!-]+)", text, re.MULTILINE)


def groups(pairs):
    """Split names and versions into lists in which each name is unique, as pip-audit wants."""
    lists = []
    for name, version in pairs:
        free = next((group for group in lists if name not in group), None)
        if free is None:
            free = {}
            lists.append(free)
        free[name] = version
    return lists


def ask(packages):
    """Return what pip-audit reports of packages, or a text that says why it does not."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(f"{name}=={version}\n" for name, version in packages.items()))
        file.flush()
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", "--requirement", file.name, "--no-deps",
             "--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "20"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    try:
        return json.loads(done.stdout)["dependencies"]
    except ValueError:
        lines = done.stderr.strip().splitlines()
        return lines[-1] if lines else f"pip-audit ended with {done.returncode}"


def judged(dependencies, accepted):
    """Return a line for each finding that is not accepted, and for each package not checked."""
    problems, unchecked = [], []
    for package in dependencies:
        name, version = package["name"], package.get("version")
        if version is None:
            unchecked.append(name)
        for advisory in package.get("vulns", ()):
            names = {advisory["id"], *advisory.get("aliases", ())}
            if not any(item["id"] in names and item["package"] == name for item in accepted):
                fixed = ", ".join(advisory.get("fix_versions", ())) or "no version"
                problems.append(f"{name} {version}: {advisory['id']}, fixed in {fixed}.")
    return problems, unchecked


def main():
    accepted = tomllib.loads((REQUIREMENTS / "advisories.toml").read_text())["accepted"]
    dependencies = []
    for packages in groups(sorted(set(pins((REQUIREMENTS / "dev.txt").read_text())))):
        answer = ask(packages)
        if isinstance(answer, str):
            print(f"The service of advisories cannot be used: packages are not audited. {answer}")
            return 0
        dependencies += answer
        if all(package.get("version") is None for package in answer):
            break
    problems, unchecked = judged(dependencies, accepted)
    if len(unchecked) == len(dependencies):
        print("The service of advisories knows no package from here: packages are not audited.")
        return 0
    for name in unchecked:
        problems.append(f"{name}: the service of advisories does not know it.")
    if problems:
        print("\n".join(problems))
        print("Update the package (`make lock UPGRADE=--upgrade`), or say in")
        print("requirements/advisories.toml why it does not matter.")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
