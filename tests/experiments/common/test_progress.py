from experiments.common import progress


def test_piped_progress_is_a_few_plain_lines_the_last_epoch_among_them(capsys):
    with progress.Progress(95) as bar:
        for i in range(1, 96):
            bar.epoch(i, loss=1 / i)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "epoch  5/95  loss 0.2000"
    assert lines[-1].startswith("epoch 95/95")
    assert len(lines) == 19


def test_a_terminal_gets_a_bar_unless_colour_is_unwanted(monkeypatch):
    monkeypatch.setattr(progress.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert progress.animated()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not progress.animated()


def test_piped_tables_have_no_escape_codes(capsys):
    progress.table("Results", ["", "value"], [["accuracy", "98 %"]])
    said = capsys.readouterr().out
    assert "accuracy" in said
    assert "\x1b" not in said
