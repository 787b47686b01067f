"""The pinned packages in requirements/, and what tools/audit.py makes of advisories about them."""

import configparser
import re
from pathlib import Path

import audit
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "requirements"
FILES = ("build", "dev", "run")

#: What decides between packages: Python's version, and platforms with and without MXNet's wheel.
ENVIRONMENTS = [
    {
        "python_version": f"3.{minor}",
        "python_full_version": f"3.{minor}.4",
        "sys_platform": system,
        "platform_system": system.capitalize(),
        "platform_machine": machine,
    }
    for minor in range(9, 15)
    for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
]


def entries(name):
    """Return the requirements of a file, each with its hashes."""
    text = (FOLDER / f"{name}.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    split = [line.split("--hash=sha256:") for line in lines]
    return [
        (Requirement(first.strip()), [digest.strip() for digest in rest]) for first, *rest in split
    ]


def versions(name, environment):
    """Return the pinned version of each package in an environment."""
    pinned = {}
    for requirement, _ in entries(name):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert requirement.name not in pinned, f"{requirement.name} has two versions"
            (only,) = requirement.specifier
            pinned[requirement.name] = Version(only.version)
    return pinned


def wanted(*extras):
    """Return the requirements of setup.cfg, those of extras too."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    texts = [settings["options"]["install_requires"]]
    texts += [settings["options.extras_require"][extra] for extra in extras]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", FILES)
def test_each_package_is_pinned_to_one_version_with_hashes_and_names_no_registry(name):
    text = (FOLDER / f"{name}.txt").read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links", text)
    for requirement, digests in entries(name):
        assert [specifier.operator for specifier in requirement.specifier] == ["=="]
        assert digests and all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)


@pytest.mark.parametrize("name, extras", [("run", ()), ("dev", ("test", "lint", "coverage"))])
def test_what_setup_cfg_asks_for_is_pinned_on_each_python(name, extras):
    for environment in ENVIRONMENTS:
        pinned = versions(name, environment)
        for requirement in wanted(*extras):
            if requirement.marker is None or requirement.marker.evaluate(environment):
                assert pinned[requirement.name.lower()] in requirement.specifier, environment


def test_a_package_has_the_same_version_for_users_and_for_development():
    for environment in ENVIRONMENTS:
        development = versions("dev", environment)
        for name in ("run", "build"):
            assert versions(name, environment).items() <= development.items()


def dependency(name, *advisories, version="1.0"):
    vulnerabilities = [{"id": item, "aliases": [], "fix_versions": ["1.1"]} for item in advisories]
    return {"name": name, "version": version, "vulns": vulnerabilities}


class TestAudit:
    ACCEPTED = ({"id": "CVE-1", "package": "a", "reason": "Not used."},)

    def test_an_advisory_that_is_not_accepted_is_a_problem(self):
        problems, unchecked = audit.judged([dependency("a", "CVE-1", "CVE-2")], self.ACCEPTED)
        assert problems == ["a 1.0: CVE-2, fixed in 1.1."] and unchecked == []

    def test_an_advisory_is_accepted_for_its_package_alone_and_by_any_of_its_names(self):
        package = dependency("a", "PYSEC-1")
        package["vulns"][0]["aliases"] = ["CVE-1"]
        assert audit.judged([package], self.ACCEPTED) == ([], [])
        assert audit.judged([{**package, "name": "b"}], self.ACCEPTED)[0]

    def test_packages_that_the_service_does_not_know_are_never_taken_as_safe(
        self, monkeypatch, capsys
    ):
        monkeypatch.setattr(audit, "ask", lambda packages: [{"name": "a", "skip_reason": "?"}])
        assert audit.main() == 0
        assert capsys.readouterr().out.endswith("packages are not audited.\n")

    def test_a_service_that_cannot_be_reached_is_reported_and_no_failure(
        self, monkeypatch, capsys
    ):
        monkeypatch.setattr(audit, "ask", lambda packages: "no route to host")
        assert audit.main() == 0
        assert "packages are not audited. no route to host" in capsys.readouterr().out

    def test_a_finding_fails_the_command(self, monkeypatch, capsys):
        monkeypatch.setattr(audit, "ask", lambda packages: [dependency("numpy", "CVE-3")])
        assert audit.main() == 1
        assert "numpy 1.0: CVE-3, fixed in 1.1." in capsys.readouterr().out

    def test_each_version_of_a_package_is_asked_for(self):
        lists = audit.groups([("a", "1"), ("a", "2"), ("b", "1")])
        assert lists == [{"a": "1", "b": "1"}, {"a": "2"}]

    def test_each_accepted_advisory_has_a_reason_a_date_and_a_pinned_package(self):
        accepted = audit.tomllib.loads((FOLDER / "advisories.toml").read_text())["accepted"]
        pinned = {requirement.name for requirement, _ in entries("dev")}
        for item in accepted:
            assert {"id", "package", "date", "reason"} == set(item)
            assert item["package"] in pinned and item["reason"]
