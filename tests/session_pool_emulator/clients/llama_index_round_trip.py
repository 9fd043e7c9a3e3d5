"""LlamaIndex tool: execute, upload, list, download. Runs in `.venv-clients`: ENDPOINT TOKEN."""

import sys
import tempfile
from pathlib import Path

from llama_index.tools.azure_code_interpreter import AzureCodeInterpreterToolSpec

endpoint, token = sys.argv[1:]
folder = tempfile.mkdtemp()
tool = AzureCodeInterpreterToolSpec(pool_management_endpoint=endpoint, local_save_path=folder)
tool.access_token_provider = lambda: token

response = tool.code_interpreter("```python\n6 * 7\n```")
assert response["properties"]["result"] == 42
assert response["properties"]["status"] == "Success"
image = tool.code_interpreter("from PIL import Image; Image.new('L', (2, 2))")["properties"]["result"]
assert image["saved_to_local_path"] is True
assert next(Path(folder).glob("*.png")).read_bytes().startswith(b"\x89PNG")
source = Path(folder, "source.txt")
source.write_bytes(b"content")
(uploaded,) = tool.upload_file(local_file_path=str(source))
assert (uploaded.filename, uploaded.size_in_bytes, uploaded.file_full_path) == ("source.txt", 7, "/mnt/data/source.txt")
assert [found.filename for found in tool.list_files()] == ["source.txt"]
assert tool.download_file_to_local("/mnt/data/source.txt").read() == b"content"
