"""Runs the cells of a notebook inside the sandbox as Jupyter would: IPython in this process, so no kernel and no socket is needed."""

from typing import Any

TEXT_LIMIT = 4000  # characters of what a cell prints
OUTPUTS_LIMIT = 50


class Cells:
    """One notebook's shell. Its namespace grows from cell to cell."""

    def __init__(self) -> None:
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        config = Config()
        config.HistoryManager.enabled = False  # which would open a database and start a thread
        self._shell: Any = InteractiveShell.instance(config=config)
        for name in ("showtraceback", "showsyntaxerror", "enable_gui"):  # errors are returned, not printed; there is no window
            setattr(self._shell, name, lambda *args, **kwargs: None)
        self._shell.run_line_magic("matplotlib", "inline")

    def run(self, code: str) -> dict[str, Any]:
        """What one cell makes: `text` it printed, `outputs` as [MIME types, plain text] each, and its `error` (empty if none)."""
        from IPython.utils.capture import capture_output

        with capture_output() as captured:
            result = self._shell.run_cell(code, store_history=False)
        error = result.error_before_exec or result.error_in_exec
        return {
            "text": captured.stdout[:TEXT_LIMIT],
            "outputs": [
                [sorted(map(str, output.data)), str(output.data.get("text/plain", ""))[:TEXT_LIMIT]]
                for output in captured.outputs[:OUTPUTS_LIMIT]
            ],
            "error": f"{type(error).__name__}: {error}"[:TEXT_LIMIT] if error is not None else "",
        }
