"""Engine bundle: the engine as an archive named by its hash, and the constant program that runs it in a session."""

import hashlib
import io
import re
import zipfile
from dataclasses import dataclass
from functools import cache

from pipeline.engine.package_files import package_digest, package_files

DIRECTORY = "/mnt/data"
MISSING, CHANGED = "pipeline-engine-missing", "pipeline-engine-changed"
_KEY = re.compile(r"[0-9a-f]{32}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
# Modification time of all files, so that the same content gives the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class EngineBundle:
    """Archive of the engine.

    Attributes:
        name: Name of the file in a session.
        data: Bytes to upload.
        digest: First 16 hexadecimal digits of the content's hash.
    """

    name: str
    data: bytes
    digest: str

    def program(self, encoded_job: str, key: str, *, may_be_baked: bool = False) -> str:
        """Return the code of one execution, constant but for its arguments.

        Args:
            encoded_job: Job document in base64.
            key: Key of the execution: 32 hexadecimal digits that no other execution has.
            may_be_baked: Whether the session's image may hold the engine. An importable package counts only then.

        Raises:
            ValueError: The document is not base64, or the key is not of this form.
        """
        if not _BASE64.fullmatch(encoded_job) or not _KEY.fullmatch(key):
            raise ValueError("cannot put a job document into code unless it is base64 and has a key of 32 digits")
        return self.text(encoded_job, key, may_be_baked=may_be_baked)

    def text(self, job: str, key: str, *, may_be_baked: bool = False) -> str:
        """Return the program with `job` and `key` in place of the job document and the key."""
        names = {"directory": DIRECTORY, "archive": self.name, "package": f"engine_{self.digest}"}
        sha256 = hashlib.sha256(self.data).hexdigest()
        words = {"missing": MISSING, "changed": CHANGED, "baked": may_be_baked}
        return _PROGRAM.format(job=job, key=key, sha256=sha256, **names, **words)


# Only base64 and hexadecimal digits are put into this text. The archive is read once, compared with its hash, and
# imported from memory: a process that an earlier execution left behind cannot put other code into it. A session's image
# may hold the package (session_image/); its name proves that it is the same version. The loader is a string, because
# IPython would spend a millisecond on it in each execution.
_PROGRAM = """\
_pipeline_loader = '''
import hashlib, importlib.abc, importlib.util, io, sys, zipfile

path = "{directory}/{archive}"
problem = ""

class Engine(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def __init__(self, data):
        self._archive = zipfile.ZipFile(io.BytesIO(data))
        self._files = set(self._archive.namelist())
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "{package}" and self._file(name) in self._files:
            return importlib.util.spec_from_loader(name, self)
    def is_package(self, name):
        return name.replace(".", "/") + "/__init__.py" in self._files
    def get_source(self, name):
        return self._archive.read(self._file(name)).decode()
    def _file(self, name):
        return name.replace(".", "/") + ("/__init__.py" if self.is_package(name) else ".py")

if not ({baked} and importlib.util.find_spec("{package}")):
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        problem = "{missing}"
    else:
        if hashlib.sha256(data).hexdigest() == "{sha256}":
            sys.meta_path.insert(0, Engine(data))
        else:
            problem = "{changed}"
'''
def _pipeline_run():
    import importlib, sys
    if "{package}" not in sys.modules:
        loader = {{}}
        exec(_pipeline_loader, loader)
        if loader["problem"]:
            return print(loader["problem"], "{key}")
    importlib.import_module("{package}.execution.jobs").main("{job}", "{directory}", "{key}")
_pipeline_run()
"""


@cache
def build() -> EngineBundle:
    """Build the archive of `pipeline/engine`. The same sources give the same bytes."""
    digest = package_digest()[:16]
    return EngineBundle(f"engine-{digest}.zip", _pack(f"engine_{digest}", package_files()), digest)


def _pack(package: str, files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(f"{package}/{name}", _EPOCH), data, zipfile.ZIP_DEFLATED)
    return packed.getvalue()
