"""The JupyterLab that the browser tests drive."""

import pytest

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def notebook(tab):
    return tab.open("a = 20 + 1", "print(2 * a)")


def test_cells_run_in_order_in_a_home_of_their_own(notebook, lab):
    assert notebook.outputs() == [{"name": "stdout", "output_type": "stream", "text": "42\n"}]
    assert notebook.kernel("a", setup="a += 1") == 22
    home = notebook.kernel("[os.environ['HOME'], os.getcwd()]", setup="import os")
    assert home == [str(lab.folder.parent / "home"), str(lab.folder)]


def test_a_cell_that_fails_is_an_error(tab, notebook):
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        notebook.kernel("1 / 0")


def test_calls_home_and_errors_are_noticed(tab, notebook):
    # A reserved name: nothing is there to be reached.
    notebook.page.evaluate("() => fetch('http://stranger.invalid/').catch(() => 0)")
    notebook.page.evaluate("() => console.error('a trial')")
    assert tab.strangers.pop() == "http://stranger.invalid/"
    assert any("a trial" in error for error in tab.errors)
    tab.errors[:] = [error for error in tab.errors if "a trial" not in error and "stranger.invalid" not in error]


def test_saved_and_opened_again(tab, notebook):
    assert "42" in notebook.save().read_text(encoding="utf-8")
    notebook.close()
    again = tab.reopen()
    assert again.outputs()[0]["text"] == "42\n"


def test_theme(tab):
    tab.theme("JupyterLab Dark")
    tab.theme("JupyterLab Light")
