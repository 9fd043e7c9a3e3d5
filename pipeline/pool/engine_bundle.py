"""The transforms package as an archive, named by its content, and the constant program that runs it in a session."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from functools import cache

from pipeline.engine.package_files import package_digest, package_files

DIRECTORY = "/mnt/data"
MISSING = "pipeline-engine-missing"
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
# A fixed time, so that the same content gives the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class EngineBundle:
    """The engine as a file: `name` in the session, `data` to upload, `digest` of its content."""

    name: str
    data: bytes
    digest: str

    def program(self, encoded_job: str) -> str:
        """The code of one execution: a constant, but for the job document in base64."""
        if not _BASE64.fullmatch(encoded_job):
            raise ValueError("a job document goes into code as base64 and as nothing else")
        return self.text(encoded_job)

    def text(self, job: str) -> str:
        """The program with `job` in the place of the document."""
        names = {"directory": DIRECTORY, "archive": self.name, "package": f"engine_{self.digest}"}
        return _PROGRAM.format(missing=MISSING, job=job, **names)


# Only base64 and names made of hexadecimal digits are ever put into this text. A package that can be imported as it
# is was baked into the session's image (session_image/): its name says that it is this very engine.
_PROGRAM = """\
def _pipeline_run():
    import importlib.util, os, sys
    path = "{directory}/{archive}"
    if "{package}" not in sys.modules and importlib.util.find_spec("{package}") is None:
        if not os.path.exists(path):
            return print("{missing}")
        if path not in sys.path:
            sys.path.insert(0, path)
        importlib.invalidate_caches()
    importlib.import_module("{package}.execution.jobs").main("{job}", "{directory}")
_pipeline_run()
"""


@cache
def build() -> EngineBundle:
    """Pack `pipeline/engine`; the same sources give the same bytes."""
    digest = package_digest()[:16]
    return EngineBundle(f"engine-{digest}.zip", _pack(f"engine_{digest}", package_files()), digest)


def _pack(package: str, files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(f"{package}/{name}", _EPOCH), data, zipfile.ZIP_DEFLATED)
    return packed.getvalue()
