"""Engine bundle: the engine as an archive named by its hash, and the constant program that runs it in a session."""

import io
import re
import zipfile
from dataclasses import dataclass
from functools import cache

from pipeline.engine.package_files import package_digest, package_files

DIRECTORY = "/mnt/data"
MISSING = "pipeline-engine-missing"
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

    def program(self, encoded_job: str) -> str:
        """Return the code of one execution, constant but for the job document. ValueError if that is not base64."""
        if not _BASE64.fullmatch(encoded_job):
            raise ValueError("cannot put a job document into code unless it is base64")
        return self.text(encoded_job)

    def text(self, job: str) -> str:
        """Return the program with `job` in place of the job document."""
        names = {"directory": DIRECTORY, "archive": self.name, "package": f"engine_{self.digest}"}
        return _PROGRAM.format(missing=MISSING, job=job, **names)


# Only base64 and names of hexadecimal digits are put into this text. The package is importable without an upload when
# it was baked into the session's image (session_image/). Its name proves that it is the same version.
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
    """Build the archive of `pipeline/engine`. The same sources give the same bytes."""
    digest = package_digest()[:16]
    return EngineBundle(f"engine-{digest}.zip", _pack(f"engine_{digest}", package_files()), digest)


def _pack(package: str, files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(f"{package}/{name}", _EPOCH), data, zipfile.ZIP_DEFLATED)
    return packed.getvalue()
