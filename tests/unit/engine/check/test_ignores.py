"""Does a comment silence what it names, where it stands, and is each that does not told?"""

import pytest

from tests.unit.engine.check.reading import report, said

HEAD = "import random, time\nfrom engine import activity, orchestration\n@orchestration\nasync def o(ctx):\n"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("    time.time()  # turnlog: ignore[TL101] why\n", []),
        (
            "    time.time()  # turnlog: ignore[ TL101 , TL103 ] why\n    random.random()\n",
            [(5, "TL902"), (6, "TL103")],
        ),
        ("    # turnlog: ignore[TL101] why\n    time.time()\n", []),
        ("    # turnlog: ignore[TL101] why\n\n    # more\n    time.time()\n", []),
        ("    # turnlog: ignore[TL101] why\n    1\n    time.time()\n", [(5, "TL902"), (7, "TL101")]),
        ("    time.clock_gettime(\n        1,  # turnlog: ignore[TL101] why\n    )\n", []),
        (
            "    f(\n        time.time(),\n        1,  # turnlog: ignore[TL101] why\n    )\n",
            [(6, "TL101"), (7, "TL902")],
        ),
        ("    f(\n        time.time(),\n        1,\n    )  # turnlog: ignore[TL101] why\n", []),
        ("    x = 'a\u2028b'\n    time.time()  # turnlog: ignore[TL101] why\n", []),
        ("\f\n    x = '''\f\n'''\n    time.time()  # turnlog: ignore[TL101] why\n", []),
        ("    time.time()  # noqa  # turnlog:ignore[TL101]: why\n", []),
        ("    time.time()  # turnlog: ignore[TL101]  # noqa\n", [(5, "TL901")]),
        ("    time.time()  # turnlog: ignore[TL101] -\n", [(5, "TL901")]),
        ("    time.time()  # turnlog: ignore[TL103] why\n", [(5, "TL101"), (5, "TL902")]),
        ("    time.time()  # turnlog: ignore why\n", [(5, "TL101"), (5, "TL903")]),
        ("    time.time()  # turnlog: ignore[] why\n", [(5, "TL101"), (5, "TL903")]),
        ("    time.time()  # turnlog: ignore[TL902] why\n", [(5, "TL101"), (5, "TL903")]),
        ("    try:\n        await ctx.x()\n    except:  # turnlog: ignore[TL401] why\n        pass\n", []),
        ("    '# turnlog: ignore[TL101]'\n", []),
        ("    pass\n# turnlog: ignore[TL101] at the end of all\n", [(6, "TL902")]),
        ("    pass\nx = time.time()  # turnlog: ignore[TL101] at module level\n", [(6, "TL902")]),
        ("    pass\n@activity\ndef a():\n    time.time()  # turnlog: ignore[TL101] in an activity\n", [(8, "TL902")]),
        ("    pass\ndef a():\n    time.time()  # turnlog: ignore[TL101] for others\n", []),
    ],
)
def test_a_comment_silences_its_line(body: str, expected: list[tuple[int, str]]) -> None:
    assert said(HEAD + body) == expected


def test_a_comment_holds_in_a_module_that_was_not_asked_for() -> None:
    text = HEAD.replace("@orch", "from acts import now\n@orch") + "    now()\n"
    now = "import time\ndef now():\n    return time.time()"
    assert len(report(text, {"acts": now + "\n"}).findings) == 1
    assert report(text, {"acts": now + "  # turnlog: ignore[TL101] why\n"}).findings == ()
    # Whether a comment there is needed is asked when that module is checked.
    assert report(text, {"acts": now.replace("time.time()", "1") + "  # turnlog: ignore[TL101]\n"}).findings == ()
