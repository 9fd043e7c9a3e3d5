"""LangChain tool: execute, upload, list, download, delete. Runs in `.venv-clients`: ENDPOINT TOKEN."""

import json
import sys
import threading
from io import BytesIO

from langchain_azure_dynamic_sessions import SessionsPythonREPLTool

endpoint, token = sys.argv[1:]
tool = SessionsPythonREPLTool(pool_management_endpoint=endpoint, access_token_provider=lambda: token)

assert json.loads(tool.invoke("6 * 7")) == {"result": 42, "stdout": "", "stderr": ""}
assert tool.execute("print('hi')")["stdout"] == "hi\n"
assert "ZeroDivisionError" in tool.execute("1 / 0")["stderr"]
assert json.loads(tool.invoke("from PIL import Image; Image.new('L', (2, 2))"))["result"] == {
    "type": "image",
    "format": "png",
}
uploaded = tool.upload_file(data=BytesIO(b"content"), remote_file_path="a b.txt")
assert (uploaded.filename, uploaded.size_in_bytes, uploaded.full_path) == ("a b.txt", 7, "/mnt/data/a b.txt")
assert [found.filename for found in tool.list_files()] == ["a b.txt"]
assert tool.execute("print(open('/mnt/data/a b.txt').read())")["stdout"] == "content\n"
assert tool.download_file(remote_file_path="a b.txt").read() == b"content"
tool.delete_session()
for thread in threading.enumerate():
    if thread is not threading.current_thread() and thread.daemon:
        thread.join(10)
assert tool.list_files() == []
tool.close()
