"""Language figures of the project's texts: indirect clauses, vague persons, and the first words of docstrings.

`python -m tests.prose` prints the figures per kind of text; `python -m tests.prose -v` prints each hit with its place.
The rule: a docstring begins with a verb in the imperative or with the standard noun, sentences name their actor and
their object, and no clause with what, who or whatever stands as a subject or object.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = ("pipeline/", "devstack/", "packages/", "benchmarks/", "session_image/", "function_app.py")

INDIRECT = re.compile(
    r"\b(what|whatever|whichever|that which)\b(?! to\b)(?!'s)|\bwho(?:ever|m)?\b(?! to\b)|\bwhich (?:of|ones?)\b",
    re.IGNORECASE,
)
VAGUE = re.compile(r"\b(?:some|no|every|any)body\b|\bwho(?:m?)ever\b", re.IGNORECASE)
QUESTION = re.compile(r"(?:what|who|whoever|whether|how|why|where|which|as)\b", re.IGNORECASE)
WORD = re.compile(r"[A-Za-z']+")
# Verbs that begin a docstring in the imperative.
VERBS = frozenset(
    """
    accept acknowledge acquire add adjust adopt advance allocate allow analyze answer append apply apportion ask
    assemble assert assign attach authenticate await batch begin bind blend block blur break build bundle cache
    calculate call cancel capture carry center change check choose claim clamp classify clean clear clip close
    collect combine commit compare compile complete compose compress compute configure confirm connect construct
    consume continue convert copy count cover create crop cut darken deactivate debounce decide declare decode
    decompress decrement deduplicate defer define delay delete deliver deny derive describe detach detect determine
    disable discard dismiss dispatch display divide do download drain draw drop dump duplicate embed emit empty
    enable encode end enforce enlarge enqueue ensure enter enumerate escape establish estimate evaluate evict
    examine exclude execute exit expand expect expire explain export expose extend extract fail fall fetch fill
    filter find finish fit fix flatten flip flush fold follow forget format forward free generate get give go grant
    group guard handle hash hide hold identify ignore implement import include increment index infer initialize
    inject insert inspect install interpolate interpret interrupt invalidate invert invoke issue iterate join keep
    kill label launch lay lease leave let lighten limit link list listen load locate lock log look lookup lower make
    map mark mask match measure merge mix monitor mount move multiply name normalize note notify number observe
    obtain open order outline override overwrite pack pad paginate paint parse partition paste patch pause peek
    perform permit persist pick ping place plan point poll pop populate post prefer prefix prepare prevent print
    probe proceed process produce promote prove provide provision proxy prune publish pull push put quantize query
    queue quote raise randomize rank re-raise re-read reach read rebalance rebuild recalculate receive recheck
    recognize record recover recycle redirect reduce refresh refuse register reject relate release reload remember
    remove rename render renew reopen repair repeat replace replay reply report represent request requeue require
    reschedule reserve reset resize resolve respond restart restore restrict resume retrieve retry return reuse
    revalidate reverse revert revoke rewrite roll rotate round route run sample sanitize save scale scan schedule
    score search seek select send separate serialize serve set settle shape share sharpen shift shorten show shrink
    shuffle shut sign signal simplify simulate skip sleep slice smooth snapshot sniff solve sort spawn split spool
    stamp start state stay step stop store stream strip submit subscribe subtract suggest sum summarize supply
    suppress swap sweep switch sync tag take tell terminate test throttle tint tolerate track transcode transfer
    transform transition translate trim truncate try turn undo unescape unlink unlock unpack unregister unwrap
    update upgrade upload upscale upsert use validate verify wait wake walk warn watch wind withdraw work wrap write
    yield zip
    """.split()  # noqa: SIM905 - 300 quoted words hide the list
)


@dataclass(frozen=True)
class Text:
    """One text with its kind (code, messages, docs, other), its file and its line."""

    kind: str
    place: str
    text: str
    docstring: bool = False


@cache
def tracked() -> list[Path]:
    """Return the files of the repository, and new files that are not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


@cache
def texts() -> list[Text]:
    """Return every text that people read, tests' docstrings and comments included."""
    return list(_all_texts())


def _all_texts() -> Iterator[Text]:
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py" or _is_python_script(path):
            yield from _python(path, name)
        elif path.suffix == ".md":
            yield Text("docs", name, path.read_text())
        elif path.suffix == ".html":
            bare = re.sub(r"(?s)\{[%#].*?[%#]\}|\{\{.*?\}\}|<script.*?</script>|<[^>]+>", " ", path.read_text())
            yield Text("other", name, bare)
        elif path.suffix in (".yaml", ".yml", ".toml", ".in") or name == "session_image/Dockerfile":
            yield from _matches("other", path, name, r"(?m)(?:^|\s)# ?(.*)$")
        elif path.suffix == ".bicep":
            yield from _matches("other", path, name, r"(?m)(?://|@description\()(.*)$")
        elif path.suffix in (".js", ".css"):
            yield from _matches("other", path, name, r"(?ms)/\*(.*?)\*/|(?:^|\s)// (.*?)$")
        elif name.startswith(("scripts/", ".ci/")) and path.suffix in ("", ".sh"):
            yield from _matches("other", path, name, r"""(?m)(?:^|\s)# ?(.*)$|echo "(.*)\"""")


def _is_python_script(path: Path) -> bool:
    """Return whether a file without a suffix is a Python program."""
    return path.suffix == "" and path.read_bytes()[:64].startswith(b"#!") and b"python" in path.read_bytes()[:64]


def _matches(kind: str, path: Path, name: str, pattern: str) -> Iterator[Text]:
    """Yield the groups of a pattern in a file."""
    source = path.read_text()
    for match in re.finditer(pattern, source):
        line = source.count("\n", 0, match.start()) + 1
        yield Text(kind, f"{name}:{line}", " ".join(group for group in match.groups() if group))


def _python(path: Path, name: str) -> Iterator[Text]:
    """Yield docstrings, comments, and string constants of at least four words."""
    source, kind = path.read_text(), "code" if name.startswith(CODE) else "other"
    tree = ast.parse(source)
    docstrings = set()
    for node in definitions(tree):
        if documented := ast.get_docstring(node):
            docstrings.add(id(node.body[0].value))  # type: ignore[attr-defined]
            yield Text(kind, f"{name}:{getattr(node, 'lineno', 1)}", documented, docstring=True)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Text(kind, f"{name}:{token.start[0]}", token.string.lstrip("#: "))
    if kind == "code":
        for node in ast.walk(tree):
            plain = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
            if plain and len(WORD.findall(node.value)) >= 4:
                yield Text("messages", f"{name}:{node.lineno}", node.value)


Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def definitions(tree: ast.AST) -> Iterator[Definition]:
    """Yield the module, and each class and function in it."""
    for node in ast.walk(tree):
        if isinstance(node, Definition):
            yield node


def undocumented() -> tuple[list[str], float]:
    """Return the public definitions without a docstring, and the share of all definitions that have one (0 to 1).

    Overloads and functions inside functions do not count as public.
    """
    missing, total, documented = [], 0, 0
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix != ".py" or not name.startswith(CODE) or "/tests/" in name:
            continue
        tree = ast.parse(path.read_text())
        private: set[ast.AST] = set()
        for node in definitions(tree):
            title = getattr(node, "name", "module")
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                private.update(set(ast.walk(node)) - {node})
            elif title.startswith("_"):
                private.update(node.body)
            has = bool(ast.get_docstring(node))
            total, documented = total + 1, documented + has
            if not has and node not in private and not title.startswith("_"):
                missing.append(f"{name}:{getattr(node, 'lineno', 1)} {title}")
    return missing, documented / total


@dataclass
class Figures:
    """Hits per 1,000 words of one kind of text."""

    words: int
    indirect: float
    vague: float


def figures(kind: str) -> Figures:
    """Return the figures of all texts of a kind."""
    joined = "\n".join(each.text for each in texts() if each.kind == kind)
    words = len(WORD.findall(joined)) or 1
    return Figures(words, 1000 * len(INDIRECT.findall(joined)) / words, 1000 * len(VAGUE.findall(joined)) / words)


def docstring_starts() -> tuple[float, float]:
    """Return the shares (0 to 1) of the code's docstrings that begin with a question word and with a verb."""
    found = [each.text for each in texts() if each.docstring and each.kind == "code"]
    verbs = sum(text.split()[0].strip(".,:;`").lower() in VERBS for text in found)
    return sum(bool(QUESTION.match(text)) for text in found) / len(found), verbs / len(found)


def main() -> None:
    """Print the figures, and with -v each hit."""
    for kind in ("code", "messages", "docs", "other"):
        print(kind, figures(kind))
    print("docstrings beginning with a question word and with a verb:", docstring_starts())
    missing, share = undocumented()
    print(f"documented: {share:.0%} of all definitions; public ones without a docstring: {len(missing)}")
    if "-v" in sys.argv:
        for each in texts():
            for match in [*INDIRECT.finditer(each.text), *VAGUE.finditer(each.text)]:
                around = " ".join(each.text[max(0, match.start() - 50) : match.end() + 50].split())
                print(f"{each.kind}: {each.place}: {around}")
        print("\n".join(missing))


if __name__ == "__main__":
    main()
