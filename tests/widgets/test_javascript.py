"""What runs in the browser: formatted, linted, type-checked, unit-tested and bundled by the tools of its project."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "fidokit" / "widgets" / "js"
#: node:test and `import.meta.dirname` as they are used need this one.
NODE = (20, 11)


def run(*command):
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    return result.returncode, result.stdout + result.stderr


@pytest.fixture(scope="module")
def npm(tmp_path_factory):
    """npm, and in the project what its lock file names."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed: apt-get install nodejs npm")
    version = tuple(int(part) for part in re.findall(r"\d+", run("node", "--version")[1])[:2])
    if version < NODE:
        pytest.skip(f"node is {'.'.join(map(str, version))}; the tools need {'.'.join(map(str, NODE))} or newer")
    installed, locked = PROJECT / "node_modules" / ".package-lock.json", PROJECT / "package-lock.json"
    # One at a time, where tests run in several processes.
    with FileLock(tmp_path_factory.getbasetemp().parent / "fidokit-npm.lock"):
        if not installed.exists() or installed.stat().st_mtime < locked.stat().st_mtime:
            code, said = run("npm", "ci")
            if code and re.search(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH", said):
                pytest.skip("npm ci reaches no registry")
            assert code == 0, said
    return shutil.which("npm")


@pytest.mark.parametrize("script", ["lint", "types", "test", "fresh"])
def test_javascript(npm, script):
    code, said = run(npm, "run", "--silent", script)
    assert code == 0, said


def test_a_stale_or_strange_bundle_is_noticed(npm, tmp_path):
    shutil.copytree(ROOT / "fidokit" / "report", tmp_path / "report")
    shutil.copytree(PROJECT.parent, tmp_path / "widgets", ignore=shutil.ignore_patterns("node_modules"))
    (tmp_path / "widgets" / "js" / "node_modules").symlink_to(PROJECT / "node_modules")
    check = ["node", str(tmp_path / "widgets" / "js" / "build.js"), "--check"]
    assert run(*check) == (0, "")
    source = tmp_path / "widgets" / "js" / "src" / "report_page.js"
    source.write_text(source.read_text(encoding="utf-8").replace('"photographs"', '"pictures"'), encoding="utf-8")
    (tmp_path / "widgets" / "static" / "old.js").write_text("", encoding="utf-8")
    code, said = run(*check)
    assert code == 1
    assert re.search(r"report\.js is not what its sources give", said)
    assert re.search(r"old\.js is no bundle", said)
    assert len(said.splitlines()) == 3


def test_the_lock_file_names_no_other_registry_and_every_platform():
    packages = json.loads((PROJECT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    hosts = [entry.get("resolved", "https://registry.npmjs.org/") for entry in packages.values()]
    assert [host for host in hosts if not host.startswith("https://registry.npmjs.org/")] == []
    for system in ("linux-x64", "darwin-arm64", "win32-x64"):
        assert f"node_modules/@esbuild/{system}" in packages
        assert any(name.startswith(f"node_modules/@biomejs/cli-{system}") for name in packages)
    assert all("integrity" in entry for name, entry in packages.items() if name)
