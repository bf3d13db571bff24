#!/usr/bin/env python3
"""Puts small faults into a copy of the source and says which of them the tests catch.

One idea: all faults of a sample are in one build, each behind a number, and VNET_FAULT says which one is switched on. So a
fault costs a run of the test programs that reach its line, not a build. Daemons that a test starts inherit it. See
tests/README.md.
"""

import argparse
import atexit
import collections
import concurrent.futures
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COPY = ROOT / "target" / "mutants"
# The repository's own, for the third-party crates in it: they take minutes to build.
BUILD = ROOT / "target"

# Real labs: they take minutes, and only what the others let through is left for them.
SYSTEM = {"netns", "conformance"}
# These have labs too, though few or for moments. Labs disturb each other: no two of such runs go on at once.
LABS = SYSTEM | {"docs live", "engine", "hostile", "lab", "rootless"}
ALONE = threading.Lock()
# Others' programs, measurements, and what reads the source as text.
LEFT_OUT = {"architecture", "soak", "alloc", "bgp_interop"}

SWITCH = """//! Which fault of a sample is switched on, and which ones a run reaches: made by scripts/mutants.py.
#![allow(unsafe_code)]
use std::ffi::c_int;
use std::os::fd::AsRawFd;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

const FAULTS: usize = 10_000;

static FAULT: LazyLock<u32> = LazyLock::new(|| std::env::var("VNET_FAULT").ok().and_then(|fault| fault.parse().ok()).unwrap_or(0));
/// A byte for each fault, in a file of this process.
static REACHED: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());

/// Before `main`: later a thread may have no right to open a file.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn(c_int, *const *const u8, *const *const u8) = start;

extern "C" fn start(_: c_int, _: *const *const u8, _: *const *const u8) {
    let Some(folder) = std::env::var_os("VNET_FAULTS_REACHED") else { return };
    let path = std::path::Path::new(&folder).join(std::process::id().to_string());
    let Ok(file) = std::fs::File::options().read(true).write(true).create(true).truncate(false).open(path) else { return };
    if file.set_len(FAULTS as u64).is_ok() {
        // SAFETY: a new mapping of a file that has this length, for as long as the process lives.
        let map = unsafe {
            libc::mmap(std::ptr::null_mut(), FAULTS, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if map != libc::MAP_FAILED {
            REACHED.store(map.cast(), Ordering::Relaxed);
        }
    }
}

pub fn on(number: u32) -> bool {
    let reached = REACHED.load(Ordering::Relaxed);
    if !reached.is_null() {
        // SAFETY: numbers are less than the length of the mapping.
        unsafe { AtomicU8::from_ptr(reached.add(number as usize)) }.store(1, Ordering::Relaxed);
    }
    *FAULT == number
}
"""

# What is written, and what is written in its place.
SWAPS = [
    (r" < ", " <= "), (r" <= ", " < "), (r" > ", " >= "), (r" >= ", " > "), (r" == ", " != "), (r" != ", " == "),
    (r"(?<=[\w)\]]) && ", " || "), (r"(?<=[\w)\]]) \|\| ", " && "), (r" \+ ", " - "), (r" - ", " + "), (r"\.min\(", ".max("),
    (r"\.max\(", ".min("), (r"\.any\(", ".all("), (r"\.all\(", ".any("), (r"\.is_some\(\)", ".is_none()"),
    (r"\.is_none\(\)", ".is_some()"), (r"\.first\(\)", ".last()"), (r"\.last\(\)", ".first()"), (r"\btrue\b", "false"),
    (r"\bfalse\b", "true"), (r"\.saturating_sub\(", ".saturating_add("), (r"\.skip\(1\)", ".skip(0)"),
    (r"(?<=[( ])!(?=[a-z(])", ""), (r"(?<![.\w])1(?![.\w])", "2"), (r"(?<![.\w])0(?![.\w])", "1"), (r"\.rev\(\)", ""), (r"\bmin_by_key\b", "max_by_key"),
    (r"\bmax_by_key\b", "min_by_key"), (r"\bis_some_and\b", "is_none_or"), (r"\bis_none_or\b", "is_some_and"),
]
# Lines with an expression of their own: what comes before it, it, what comes after it.
PLACES = [
    re.compile(r"^(\s*(?:\} else )?if )(?!let\b)(?!.*\blet\b)(.+)( \{)$"),
    re.compile(r"^(\s*let \w+ = )(.+)(;)$"),
    re.compile(r"^(\s*return )(.+)(;)$"),
    re.compile(r"^(\s*(?!//)[\w:|(){}, ]+? => )([^{].*)(,)$"),
    re.compile(r"^(\s*\w+: )(.+)(,)$"),
]
TAIL = re.compile(r"^(\s*)([^\s/#}].*[^;,{(\[|])()$")
STATEMENT = re.compile(r"^(\s*)(?!let |return|break|continue|use |pub |const |static |type |mod |//)([\w.*&]+.*\))(;)$")

Fault = collections.namedtuple("Fault", "file line before after")
# A test program, or some tests of it. A lab must not be killed: it would be left behind.
Run = collections.namedtuple("Run", "name path words lab")


def candidates(file):
    """Every fault that this file may have, at most one a line."""
    lines = (ROOT / file).read_text().splitlines()
    found = []
    for at, line in enumerate(lines):
        after = lines[at + 1].strip() if at + 1 < len(lines) else ""
        # Tests in the file are at its foot; those in a file of their own may be named at its head.
        if line.startswith("#[cfg(test)]") and not after.endswith(";"):
            break
        if re.match(r"\s*(//|#|assert|debug_assert|(tracing::)?(error|warn|info|debug)!)", line):
            continue
        places = [place.match(line) for place in PLACES]
        if after in ("}", "})", "});"):
            places.append(TAIL.match(line))
        choices = []
        for place in filter(None, places):
            head, expression, end = place.groups()
            for wanted, instead in SWAPS:
                for hit in re.finditer(wanted, expression):
                    changed = expression[: hit.start()] + instead + expression[hit.end() :]
                    if expression.count('"', 0, hit.start()) % 2 == 0:
                        choices.append((head, expression, changed, end))
        statement = STATEMENT.match(line)
        if statement:
            head, expression, end = statement.groups()
            choices.append((head, expression, None, end))
        found.extend(Fault(file, at, line, choice) for choice in choices[:6])
    return found


def written(fault, number):
    """The line with its fault behind a switch."""
    head, expression, changed, end = fault.after
    if changed is None:
        return f"{head}if !crate::mutants::on({number}) {{ {expression}{end} }}"
    return f"{head}(if crate::mutants::on({number}) {{ {changed} }} else {{ {expression} }}){end}"


def sample(count, seed, only):
    """Faults of all modules in turn, none of them twice in a line."""
    files = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    files = [file for file in files if file.endswith(".rs") and not file.endswith("tests.rs")]
    files = [file for file in files if not only or re.search(only, file)]
    chance = random.Random(seed)
    modules = collections.defaultdict(list)
    for file in files:
        modules[module_of(file)].extend(candidates(file))
    for faults in modules.values():
        chance.shuffle(faults)
    chosen, lines = [], set()
    while len(chosen) < count and any(modules.values()):
        for name in sorted(modules):
            fault = next(iter([modules[name].pop()] if modules[name] else []), None)
            if fault and (fault.file, fault.line) not in lines and len(chosen) < count:
                lines.add((fault.file, fault.line))
                chosen.append(fault)
    return chosen


def module_of(file):
    return pathlib.Path(file).parts[1].removesuffix(".rs")


def cargo(*arguments):
    environment = dict(os.environ, CARGO_TARGET_DIR=str(BUILD))
    return subprocess.run(["cargo", *arguments, "--message-format=json"], cwd=COPY, env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def clean():
    """Removes what was built of the copy: it has the package's name, and no message format."""
    subprocess.run(["cargo", "clean", "-q", "-p", "vnet"], cwd=COPY, env=dict(os.environ, CARGO_TARGET_DIR=str(BUILD)))


def messages(output):
    return [json.loads(line) for line in output.stdout.splitlines() if line.startswith("{")]


def errors(output):
    """The places that the compiler complains of: files and lines."""
    for message in messages(output):
        if message["reason"] == "compiler-message" and message["message"]["level"] == "error":
            yield from ((span["file_name"], span["line_start"] - 1) for span in message["message"]["spans"])


def put_in(faults):
    """Writes the copy with these faults, without those that do not compile; returns what is left, by number."""
    shutil.rmtree(COPY, ignore_errors=True)
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, tracked.split("\0")):
        # Cargo finds the repository's own settings above the copy, and would take them twice.
        if (ROOT / name).exists() and not name.startswith(".cargo/"):
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, COPY / name)
    (COPY / "src" / "mutants.rs").write_text(SWITCH)
    with (COPY / "src" / "lib.rs").open("a") as lib:
        lib.write("\npub mod mutants;\n")
    left = dict(enumerate(faults, 1))
    changed = {fault.file for fault in faults}
    while True:
        for file in changed:
            lines = (ROOT / file).read_text().splitlines()
            for number, fault in left.items():
                if fault.file == file:
                    lines[fault.line] = written(fault, number)
            (COPY / file).write_text("\n".join(lines) + "\n")
        # As the tests are built: with other features third-party crates would be built again.
        checked = cargo("test", "--no-run", "--lib", "--locked")
        if checked.returncode == 0:
            return left
        broken = {number for file, line in errors(checked) for number, fault in left.items()
                  if fault.file == file and abs(fault.line - line) <= 3}
        if not broken:
            sys.exit("the copy does not compile, and not for a fault: does the source?\n" + str(list(errors(checked))))
        changed = {left.pop(number).file for number in broken}


def programs(system, only):
    """Builds the test programs; returns the path of each by its name."""
    tests = {path.stem for path in (ROOT / "tests").glob("*.rs")} | {path.parent.name for path in (ROOT / "tests").glob("*/main.rs")}
    tests = sorted(only or (name for name in tests - LEFT_OUT if system or name not in SYSTEM))
    built = cargo("test", "--no-run", "--locked", "--lib", *(word for name in tests for word in ("--test", name)))
    if built.returncode != 0:
        sys.exit("the test programs do not build")
    found = {}
    for message in messages(built):
        if message.get("reason") == "compiler-artifact" and message.get("executable") and message["profile"]["test"]:
            target = message["target"]
            name = "unit tests" if "lib" in target["kind"] else target["name"]
            found[name] = message["executable"]
    return found


def runs(name, path):
    """A program is run module by module: a fault costs those that reach it, not all."""
    listed = subprocess.run([path, "--list", "--format", "terse"], cwd=COPY, capture_output=True, text=True).stdout
    tests = [line.removesuffix(": test") for line in listed.splitlines() if line.endswith(": test")]
    # Only libtest takes several names.
    if not all("::" in test or test.isidentifier() for test in tests):
        return [Run(name, path, (), name in LABS)]
    modules = collections.defaultdict(list)
    for test in tests:
        modules[test.split("::")[0] if "::" in test else ""].append(test)
    named = {f"{name} {module}".strip(): some for module, some in modules.items()}
    return [Run(run, path, ("--exact", *some), name in LABS or run in LABS) for run, some in named.items()]


def passes(run, fault, limit, reached=None):
    """Whether tests pass with a fault; a program that does not end does not."""
    with ALONE if run.lab else contextlib.nullcontext():
        return ends_well(run, fault, limit, reached)


def ends_well(run, fault, limit, reached):
    environment = dict(os.environ, VNET_FAULT=str(fault), CARGO_MANIFEST_DIR=str(COPY), RUST_BACKTRACE="0")
    if reached:
        environment["VNET_FAULTS_REACHED"] = str(reached)
    with tempfile.TemporaryFile() as output:
        program = subprocess.Popen([run.path, *run.words], cwd=COPY, env=environment, stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=subprocess.DEVNULL, start_new_session=True)
        ends = time.monotonic() + limit
        while program.poll() is None:
            failed = not run.lab and b" ... FAILED\n" in os.pread(output.fileno(), 1 << 20, 0)
            if failed or time.monotonic() > ends:
                program.kill()
                program.wait()
                end_session(program.pid)
                return False
            time.sleep(0.05)
        end_session(program.pid)
        return program.returncode == 0


def end_session(leader):
    """Ends what a test program has left behind: a busy process would slow down all others."""
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # After the name, which may have spaces: state, parent, group, session.
            if int(stat.read_text().rpartition(")")[2].split()[3]) == leader:
                os.kill(int(stat.parent.name), signal.SIGKILL)


def reach(tests, jobs):
    """Runs all without a fault: how long each takes, and the numbers of the faults on lines that it reaches.

    First are those that reach few faults in little time: they are about these faults. See `alike`, too.
    """
    durations, reached = {}, {}

    def measure(run):
        with tempfile.TemporaryDirectory() as folder:
            # Rootless labs write here too.
            os.chmod(folder, 0o777)
            began = time.monotonic()
            if not passes(run, 0, 1800, folder):
                run = without_failing(run)
                began = time.monotonic()
            # Without names `--exact` means all tests.
            if run.words != ("--exact",) and passes(run, 0, 1800, folder):
                durations[run] = time.monotonic() - began
                # A file for each process, a byte for each fault.
                seen = [path.read_bytes() for path in pathlib.Path(folder).iterdir()]
                reached[run] = {number for one in seen for number, byte in enumerate(one) if byte}
            else:
                print(f"left out: {run.name} fails without any fault", flush=True)

    together(jobs, measure, [run for name, path in tests.items() for run in runs(name, path)])
    order = sorted(durations, key=lambda run: durations[run] * len(reached[run]))
    print("runs: " + ", ".join(f"{run.name} {durations[run]:.0f} s" for run in order), flush=True)
    return durations, {run: reached[run] for run in order}


def left(faults, tests, kind, jobs, most=None):
    """Tries each fault with the tests that reach it, or so many of them; returns those that they let through."""
    durations, reached = reach(tests, jobs)
    survivors = {}

    def attempt(number):
        fault, began = faults[number], time.monotonic()
        reaching = sorted((run for run in reached if number in reached[run]), key=lambda run: -alike(run.name, fault.file))
        by = next((run for run in reaching[:most] if fails_twice(run, number, durations[run] * 5 + 30)), None)
        if by is None:
            survivors[number] = fault
        word = f"caught by {by.name}" if by else f"SURVIVED {', '.join(run.name for run in reaching[:most]) or 'unreached'}"
        print(f"{number} {word}, {time.monotonic() - began:.0f} s: {fault.file}:{fault.line + 1}: {fault.after[1]}  =>  "
              f"{fault.after[2] or 'left out'}", flush=True)

    together(jobs, attempt, faults)
    print(f"{kind}: caught {len(faults) - len(survivors)} of {len(faults)}", flush=True)
    return {number: survivors[number] for number in sorted(survivors)}


def alike(name, file):
    """How many words the name of a run shares with a file's path: such tests are about it."""
    words = [{word.removesuffix("s") for word in re.split(r"[^a-z]+", text.removesuffix(".rs"))} for text in (name, file)]
    return len(words[0] & words[1] - {""})


def without_failing(run):
    """The same run without its tests that fail where there is no fault, on a busy machine those with limits of time."""
    environment = dict(os.environ, CARGO_MANIFEST_DIR=str(COPY))
    output = subprocess.run([run.path, *run.words], cwd=COPY, env=environment, stdin=subprocess.DEVNULL, timeout=1800, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    failing = re.findall(r"^test (\S+) \.\.\. FAILED$", output, re.MULTILINE)
    print("".join(f"left out: {name} fails without any fault\n" for name in failing), end="", flush=True)
    return run._replace(words=tuple(word for word in run.words if word not in failing))


def fails_twice(run, fault, limit):
    """Whether tests fail with a fault, and not by chance."""
    return not passes(run, fault, limit) and not passes(run, fault, limit)


def together(jobs, work, items):
    """Does the work for all items, so many at a time."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as threads:
        for done in concurrent.futures.as_completed([threads.submit(work, item) for item in items]):
            done.result()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="how many faults (100)")
    parser.add_argument("--seed", type=int, default=1, help="which sample (1)")
    parser.add_argument("--only", help="files with a path that matches this expression")
    parser.add_argument("--faults", type=lambda numbers: set(map(int, numbers.split(","))), help="these numbers of the sample")
    parser.add_argument("--tests", type=lambda names: names.split(","), help="these test programs, and the unit tests")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="so many faults at a time; real labs one by one (cores)")
    parser.add_argument("--system", action="store_true", help="try what is left with real labs too (root; minutes a fault)")
    parser.add_argument("--labs", type=int, help="so many modules with real labs for a fault, those first that reach few others")
    parser.add_argument("--list", action="store_true", help="print the sample and do nothing else")
    arguments = parser.parse_args()
    wanted = sample(arguments.count * 2, arguments.seed, arguments.only)
    if arguments.list:
        for fault in wanted[: arguments.count]:
            print(f"{fault.file}:{fault.line + 1}: {fault.after[1]}  =>  {fault.after[2] or 'left out'}")
        return
    began = time.monotonic()
    # Cargo takes what was built of the copy for the repository's own: nothing of it may be left.
    atexit.register(clean)
    faults = put_in(wanted)
    faults = dict(list(faults.items())[: arguments.count])
    faults = {number: fault for number, fault in faults.items() if not arguments.faults or number in arguments.faults}
    tests = programs(arguments.system, arguments.tests)
    print(f"{len(faults)} faults in one build, {time.monotonic() - began:.0f} s", flush=True)
    survivors = left(faults, {name: path for name, path in tests.items() if name not in SYSTEM}, "the quick programs",
                     arguments.jobs)
    if arguments.system:
        survivors = left(survivors, {name: path for name, path in tests.items() if name in SYSTEM}, "real labs", 1,
                         arguments.labs)
    all_of = collections.Counter(module_of(fault.file) for fault in faults.values())
    missed = collections.Counter(module_of(fault.file) for fault in survivors.values())
    print("by module: " + ", ".join(f"{name} {all_of[name] - missed[name]}/{all_of[name]}" for name in sorted(all_of)))
    print(f"caught: {len(faults) - len(survivors)} of {len(faults)}")


if __name__ == "__main__":
    main()
