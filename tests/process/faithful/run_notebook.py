"""Runs cells in a kernel, as a notebook does: python run_notebook.py cells.json"""

import json
import sys
from pathlib import Path

import nbclient
import nbformat.v4


def main() -> None:
    cells = json.loads(Path(sys.argv[1]).read_text())
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=400, kernel_name="python3").execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            print(output.get("text", output))


if __name__ == "__main__":
    main()
