#!/usr/bin/env python3
"""Checks workflows: their form, and that each script they call is there and knows the options it is given.

Usage: workflows_check.py ROOT WORKFLOW...   (ROOT: the tree whose scripts are meant; needs python3-yaml and shellcheck)
"""
import os
import re
import shlex
import subprocess
import sys

import yaml

JOB_NEEDS = ("runs-on", "timeout-minutes", "steps")


def problems_of(root, path):
    with open(path, encoding="utf-8") as file:
        workflow = yaml.safe_load(file)
    # YAML 1.1 reads the key `on` as true.
    for key in ("name", "permissions", "jobs"):
        if key not in workflow:
            yield f"'{key}' is missing"
    if True not in workflow and "on" not in workflow:
        yield "'on' is missing: nothing starts it"
    for name, job in (workflow.get("jobs") or {}).items():
        for key in JOB_NEEDS:
            if key not in job:
                yield f"{name}: '{key}' is missing"
        yield from (f"{name}: {problem}" for problem in _expressions(job))
        for number, step in enumerate(job.get("steps") or [], start=1):
            yield from (f"{name}, step {number}: {problem}" for problem in _step(root, step))


def _step(root, step):
    unknown = step.keys() - {"name", "id", "if", "uses", "with", "run", "env", "shell", "working-directory", "timeout-minutes", "continue-on-error"}
    if unknown:
        yield f"no step has '{sorted(unknown)[0]}'"
    if ("run" in step) == ("uses" in step):
        yield "needs one of 'run' and 'uses'"
    if "uses" in step and not re.fullmatch(r"[\w.-]+/[\w./-]+@v?[\w.]+", step["uses"]):
        yield f"'{step['uses']}' is not ACTION@VERSION"
    if "run" in step:
        yield from _run(root, step["run"])


def _expressions(job):
    """Expressions are closed, and name a context and, of a matrix, a key that it has."""
    text = yaml.safe_dump(job)
    if text.count("${{") != len(re.findall(r"\$\{\{[^{}]*\}\}", text)):
        yield "an expression is not closed"
    matrix = (job.get("strategy") or {}).get("matrix") or {}
    known = set(matrix) | {key for entry in matrix.get("include") or [] for key in entry}
    for name in re.findall(r"\bmatrix\.(\w+)", text):
        if name not in known:
            yield f"the matrix has no '{name}'"


def _run(root, text):
    """The shell part is sound; the scripts are there."""
    plain = re.sub(r"\$\{\{[^}]*\}\}", "value", text)
    checked = subprocess.run(["shellcheck", "-s", "bash", "-"], input=plain, capture_output=True, text=True, check=False)
    if checked.returncode != 0:
        yield f"shellcheck: {checked.stdout.strip()}"
        return
    for line in plain.splitlines():
        for command in re.split(r"&&|\|\||;|\|", line):
            words = shlex.split(command, comments=True)
            if words[:1] == ["bash"]:
                words = words[1:]
            if words and words[0].startswith(("scripts/", "./scripts/", ".ci/", "tests/")):
                yield from _script(root, words)


def _script(root, words):
    path = os.path.join(root, words[0])
    if not os.path.isfile(path):
        yield f"there is no {words[0]}"
        return
    if words[0].startswith("scripts/") and not os.access(path, os.X_OK):
        yield f"{words[0]} is not executable"
    options = [word.split("=")[0] for word in words[1:] if word.startswith("-") and word != "-"]
    if not options:
        return
    told = subprocess.run([path, "--help"], capture_output=True, text=True, check=False, timeout=60)
    known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", told.stdout))
    for option in options:
        if told.returncode != 0 or option not in known:
            yield f"{words[0]} does not know {option}"
    if "--only" in words and os.path.basename(words[0]) in ("test.sh", "gpu_ci.sh"):
        listed = subprocess.run([path, "--list"], capture_output=True, text=True, check=True, timeout=60).stdout
        stages = {line.split()[0] for line in listed.splitlines() if line.strip()}
        for stage in words[words.index("--only") + 1].split(","):
            if stage not in stages:
                yield f"{words[0]} has no stage {stage}"


def main(arguments):
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    root, *paths = arguments
    found = 0
    for path in paths:
        try:
            for problem in problems_of(root, path):
                found += 1
                print(f"{os.path.basename(path)}: {problem}")
        except yaml.YAMLError as error:
            found += 1
            print(f"{os.path.basename(path)}: no YAML: {error}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
