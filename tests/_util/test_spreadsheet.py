import pandas as pd

from fidokit._util.spreadsheet import csv_bytes, defused, is_formula


def test_texts_that_would_run_get_an_apostrophe_but_those_of_keys():
    table = pd.DataFrame({"key": ["=1+1", "b"], "text": ["@a", "tit"], "n": [-1, 2], "list": [["=x", 2], []]})
    lines = csv_bytes(table, as_they_are=["key"]).decode().splitlines()
    assert lines == ["key,text,n,list", "=1+1,'@a,-1,'=x; 2", "b,tit,2,"]
    assert csv_bytes(pd.DataFrame({"=a": ["+1"]})).decode().splitlines() == ["'=a", "'+1"]


def test_what_is_a_formula():
    assert [text for text in ("=a", "+a", "-a", "@a", "\ta", "a=", "", "'=a") if is_formula(text)] == [
        "=a",
        "+a",
        "-a",
        "@a",
        "\ta",
    ]
    assert [defused("=a"), defused("a")] == ["'=a", "a"]
